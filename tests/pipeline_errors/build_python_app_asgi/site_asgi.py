class App:
    async def __call__(self, scope, receive, send):
        pass


app = App()
