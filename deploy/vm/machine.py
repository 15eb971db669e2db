"""The virtual machine: a QEMU guest whose system is the host's own, read-only, under Debian's kernel.

Overview: [Image] has what every boot needs, made once and kept beside the build: kernel, modules, the first root folder.
[Machine] is one boot. Its root folder is an overlay of the host's root, the kernel's modules, and a tree that the bed adds,
so that whatever is installed on the host is at hand inside, and nothing that is done inside reaches the host.
Life cycle: `Machine` is a context: entering it boots, leaving it ends QEMU and keeps the console's log.
Bounds: two virtual CPUs and MEMORY_MIB; every wait has an end, BOOT_SECONDS for the boot.
"""
import json, lzma, os, pathlib, re, shutil, socket, subprocess, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
MEMORY_MIB = 1600
HUGEPAGES = 192
BOOT_SECONDS = 600
COMMAND_SECONDS = 180
# What the guest needs before it has its root folder; the agent's serial port among it.
FIRST_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"]


class Failed(Exception):
    """Something went otherwise than expected; the text says what."""


class Panicked(Failed):
    """The guest's kernel gave up: emulation's fault, or a driver's."""


def run(*words, ok=True, seconds=60, **options):
    """Runs a command on the host and gives what it printed."""
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds, **options)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(map(str, words))}: no end after {seconds} s") from None
    if ok and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Image:
    """Kernel, modules and first root folder, in a cache."""

    def __init__(self, cache):
        cache.mkdir(parents=True, exist_ok=True)
        needs = run("apt-cache", "depends", "linux-image-amd64").stdout
        self.package = re.search(r"Depends: (linux-image-\S+)", needs)[1]
        self.version = self.package.removeprefix("linux-image-")
        self.folder = cache / self.version
        if not self.folder.exists():
            self.unpack_kernel(cache)
        self.kernel = self.folder / f"boot/vmlinuz-{self.version}"
        self.initrd = self.make_initrd()

    def unpack_kernel(self, cache):
        """The kernel is not installed on the host, only unpacked beside the build."""
        with tempfile.TemporaryDirectory(dir=cache) as name:
            folder = pathlib.Path(name)
            run("apt-get", "download", "-q=2", self.package, cwd=folder, seconds=600)
            tree = folder / "tree"
            run("dpkg-deb", "-x", next(folder.glob("*.deb")), tree, seconds=300)
            if (tree / "lib").exists():
                # As a system with a merged /usr has it.
                (tree / "usr").mkdir(exist_ok=True)
                shutil.move(tree / "lib", tree / "usr/lib")
            run("depmod", "-b", tree / "usr", self.version)
            tree.rename(self.folder)

    def modules(self):
        """The files of FIRST_MODULES and what they need, in the order in which they are loaded."""
        command = ["modprobe", "-d", self.folder / "usr", "-S", self.version, "-a", "--show-depends"]
        lines = run(*command, *FIRST_MODULES).stdout.splitlines()
        paths = [pathlib.Path(line.split()[1]) for line in lines if line.startswith("insmod ")]
        return list(dict.fromkeys(paths))

    def make_initrd(self):
        initrd = self.folder / "initrd.gz"
        with tempfile.TemporaryDirectory() as name:
            tree = pathlib.Path(name)
            for folder in ["bin", "modules"]:
                (tree / folder).mkdir()
            shutil.copy("/bin/busybox", tree / "bin/busybox")
            shutil.copy(HERE / "guest/init", tree / "init")
            order = []
            for path in self.modules():
                packed = path.suffix == ".xz"
                order.append(path.stem if packed else path.name)
                (tree / "modules" / order[-1]).write_bytes(lzma.open(path).read() if packed else path.read_bytes())
            (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
            run("sh", "-c", f"cd {tree} && find . | cpio --quiet -o -H newc | gzip -1 >{initrd}")
        return initrd


class Machine:
    """One boot, with a channel to the agent inside."""

    def __init__(self, image, folder, namespace, cards):
        """`cards` are QEMU's words for network cards; `folder` is the bed's; `tree` in it is laid over the guest's root."""
        self.image, self.folder, self.namespace, self.cards = image, folder, namespace, cards
        self.console = folder / "console.log"
        self.socket = folder / "agent.socket"
        self.monitor_socket = folder / "monitor.socket"
        self.process = self.channel = None
        self.pending = b""

    def __enter__(self):
        with open(self.folder / "qemu.log", "w") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        if self.channel:
            self.channel.close()
        self.process.kill()
        self.process.wait()

    def command(self):
        share = lambda tag, path: [
            "-fsdev", f"local,id={tag},path={path},security_model=none,readonly=on,multidevs=remap",
            "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        # A busy host gives QEMU no time for long: nobody is to conclude from it that timers or processors are broken.
        patient = "mitigations=off no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
        arguments = f"console=ttyS0 panic=-1 {patient} intel_iommu=on hugepages={HUGEPAGES} systemd.unit=bed.target"
        return [
            "ip", "netns", "exec", self.namespace, "nice", "-n", "10", "qemu-system-x86_64",
            "-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
            "-m", str(MEMORY_MIB), "-device", "intel-iommu,intremap=on,caching-mode=on",
            "-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append", arguments,
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{self.console}",
            *share("host", "/"), *share("kernel", self.image.folder), *share("bed", self.folder / "tree"),
            "-qmp", f"unix:{self.monitor_socket},server=on,wait=off",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self.socket},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=turnpike.bed", *self.cards]

    def wait_until_up(self):
        """Waits for the agent's greeting."""
        end = time.monotonic() + BOOT_SECONDS
        while not self.socket.exists():
            self.check_alive(end, "QEMU's sockets")
            time.sleep(0.1)
        self.channel = socket.socket(socket.AF_UNIX)
        self.channel.connect(str(self.socket))
        self.channel.settimeout(1)
        self.read_message(end, "the guest's agent")

    def run(self, *words, ok=True, seconds=COMMAND_SECONDS, **given):
        """Runs a command in the guest and gives what it printed. `input` is its standard input."""
        words = [str(word) for word in words]
        self.channel.sendall(json.dumps({"words": words, "seconds": seconds, **given}).encode() + b"\n")
        answer = self.read_message(time.monotonic() + seconds + 60, words)
        done = subprocess.CompletedProcess(words, answer["code"], answer["out"], answer["err"])
        if ok and done.returncode != 0:
            raise Failed(f"in the guest, {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def monitor(self, command, **arguments):
        """Has QEMU do something, by its monitor."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(COMMAND_SECONDS)
            channel.connect(str(self.monitor_socket))
            lines = channel.makefile()
            lines.readline()
            for request in [{"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}]:
                channel.sendall(json.dumps(request).encode() + b"\n")
                # What happens meanwhile is told in between.
                answer = next(answer for answer in map(json.loads, lines) if "event" not in answer)
                if "error" in answer:
                    raise Failed(f"QEMU's monitor: {command}: {answer['error']}")

    def read_message(self, end, what):
        while b"\n" not in self.pending:
            self.check_alive(end, what)
            try:
                self.pending += self.channel.recv(65536)
            except TimeoutError:
                pass
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def check_alive(self, end, what):
        """Refuses to wait for a guest that will not answer any more."""
        console = self.console.read_text(errors="replace") if self.console.exists() else ""
        if "Kernel panic" in console:
            raise Panicked(f"the guest's kernel panicked while it was to give {what}")
        if self.process.poll() is not None:
            raise Failed(f"QEMU ended: {(self.folder / 'qemu.log').read_text()}")
        if time.monotonic() > end:
            raise Failed(f"waited in vain for {what}")
