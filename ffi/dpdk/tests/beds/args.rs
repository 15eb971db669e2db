use dpdk::{EalArgs, LogLevel, Memory};

use crate::{Bed, refusal};

pub fn command_line(_: &Bed) {
    let plain = EalArgs::new("t", Memory::Hugepages { mib: 512 });
    assert_eq!(
        plain.words().join(" "),
        "--no-telemetry --lcores 0@0 --in-memory -m 512 --no-pci --log-level=notice"
    );
    let full = EalArgs::new("t", Memory::NoHuge { mib: 64 })
        .lcore(3, &[1])
        .lcore(1, &[0, 1])
        .file_prefix("x")
        .allow_pci("0000:01:00.0")
        .allow_pci("0000:01:00.1")
        .log_level(LogLevel::Debug)
        .arg("--iova-mode=va");
    assert_eq!(
        full.words().join(" "),
        "--no-telemetry --lcores 3@(1),1@(0,1) --main-lcore 3 --no-huge --no-shconf -m 64 --file-prefix x \
         -a 0000:01:00.0 -a 0000:01:00.1 --log-level=debug --iova-mode=va"
    );
    // Found before EAL is asked, even where EAL is taken.
    let refused = refusal(dpdk::Eal::init(&EalArgs::new("t", Memory::NoHuge { mib: 64 }).arg("a\0b")));
    assert_eq!(refused, "\"a\\0b\" contains a NUL byte; remove it");
}
