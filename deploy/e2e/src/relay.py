"""A bad cable: `relay.py TRUNK TAP LOSS LATE TWICE SEED` makes the interface TAP and carries frames between it and TRUNK, both
ways alike. Of a hundred frames it loses LOSS, holds back LATE until a few others have overtaken them, and repeats TWICE. Says
`ready` when the interface is there."""

import fcntl
import os
import random
import select
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002
PACKET_OUTGOING = 4
# How long a frame is held back at most, in seconds, and behind how many others.
HELD, OVERTAKING = 0.005, 8


class Line:
    """One direction."""

    def __init__(self, send, chances, luck):
        self.send, self.chances, self.luck = send, chances, luck
        self.held = []

    def happens(self, chance):
        return self.luck.random() * 100 < chance

    def carry(self, frame):
        loss, late, twice = self.chances
        for held in self.held:
            held[1] -= 1
        if not self.happens(loss):
            for _ in range(2 if self.happens(twice) else 1):
                if self.happens(late):
                    self.held.append([time.monotonic() + HELD, self.luck.randint(1, OVERTAKING), frame])
                else:
                    self.send(frame)
        self.release()

    def release(self):
        if self.held:
            now = time.monotonic()
            for held in [held for held in self.held if held[0] <= now or held[1] <= 0]:
                self.held.remove(held)
                self.send(held[2])


def tap(name):
    """The file of a new TAP interface."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP_NO_PI))
    return file


def trying(send):
    """What an interface that is down or full does not take is lost."""

    def tried(frame):
        try:
            send(frame)
        except OSError:
            pass

    return tried


def main():
    name, own, *numbers = sys.argv[1:]
    *chances, seed = (float(number) for number in numbers)
    luck = random.Random(seed)
    trunk = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    trunk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    trunk.bind((name, 0))
    file = tap(own)
    inwards = Line(trying(lambda frame: os.write(file, frame)), chances, luck)
    outwards = Line(trying(trunk.send), chances, luck)
    print("ready", flush=True)
    while True:
        waiting = inwards.held or outwards.held
        for ready in select.select([trunk, file], [], [], HELD if waiting else None)[0]:
            if ready is trunk:
                frame, address = trunk.recvfrom(65536)
                if address[2] != PACKET_OUTGOING:
                    inwards.carry(frame)
            else:
                outwards.carry(os.read(file, 65536))
        inwards.release()
        outwards.release()


main()
