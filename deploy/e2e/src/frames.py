"""Sends raw frames: `frames.py INTERFACE FILE`, where FILE has one frame a line, in hexadecimal.

Prints how many were sent. What the kernel itself refuses (shorter than an Ethernet header) is left out.
"""

import socket
import sys
import time

PAUSE_EVERY = 16
PAUSE_S = 0.002


def main():
    interface, path = sys.argv[1:]
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind((interface, 0))
    sent = 0
    with open(path) as frames:
        for line in frames:
            try:
                out.send(bytes.fromhex(line))
            except OSError:
                continue
            sent += 1
            if sent % PAUSE_EVERY == 0:
                time.sleep(PAUSE_S)
    print(sent)


main()
