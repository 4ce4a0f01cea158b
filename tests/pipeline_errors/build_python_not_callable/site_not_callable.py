app = 7
