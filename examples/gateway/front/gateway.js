const list = document.querySelector("ul");
const form = document.querySelector("form");
const show = (text) => list.prepend(Object.assign(document.createElement("li"), { textContent: text }));

fetch("/api/hello?gateway").then((answer) => answer.json()).then((answer) => show(`hello, ${answer.hello}`));

const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/chat/room`);
socket.onmessage = (message) => show(message.data);
socket.onclose = () => show("the connection has ended");
form.onsubmit = (event) => {
  event.preventDefault();
  socket.send(form.text.value);
  form.reset();
};
