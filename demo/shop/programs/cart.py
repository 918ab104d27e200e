"""The cart, in Python: GET /cart asks the stock how many there are. Knows no mesh."""
import json
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, STOCK, SECRET = int(sys.argv[1]), sys.argv[2].split(":"), sys.argv[3]


def stock_of(article):
    """One line to the stock, one line back."""
    with socket.create_connection((STOCK[0], int(STOCK[1])), timeout=10) as link:
        link.sendall(f"{article}\n".encode())
        link.shutdown(socket.SHUT_WR)
        return link.makefile().read().strip()


class Cart(BaseHTTPRequestHandler):
    def do_GET(self):
        started = time.monotonic()
        try:
            text = stock_of(f"pen {SECRET}")
        except OSError as error:
            text = f"failed: {error}"
        good = text.startswith("7 ")
        line = {"edge": "cart stock", "ok": good, "ms": (time.monotonic() - started) * 1000}
        print(json.dumps(line), flush=True)
        body = f"cart: {text}\n".encode()
        self.send_response(200 if good else 502)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("", PORT), Cart)
server.daemon_threads = True
print("cart serves", flush=True)
server.serve_forever()
