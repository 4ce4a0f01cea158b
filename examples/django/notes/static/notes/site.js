// Says how large a chosen file is before it is sent.
for (const input of document.querySelectorAll("input[type=file]")) {
  const size = document.createElement("output");
  input.after(" ", size);
  input.addEventListener("change", () => {
    const bytes = [...input.files].reduce((sum, file) => sum + file.size, 0);
    size.textContent = input.files.length ? `${bytes.toLocaleString()} octets` : "";
  });
}
