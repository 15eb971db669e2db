//! The kernel's files about the machine: /proc, /sys and /dev, beneath a root that tests can choose.
//!
//! What is absent or unreadable is `None` or empty: kernels differ in what they have, and the caller knows what absence
//! means.

use std::fs;
use std::path::{Path, PathBuf};

/// Files beneath a root.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The files of this machine are beneath `/`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether these are this machine's own files.
    pub fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a file of the machine is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether it is there.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A file's text, without white space around it.
    pub fn text(&self, path: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&fs::read(self.path(path)).ok()?).trim().to_owned())
    }

    /// A file's decimal number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a folder, in order.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// What a link points to, by its last name: how sysfs tells a device's driver or group.
    pub fn target_name(&self, link: &str) -> Option<String> {
        Some(self.target(link)?.file_name()?.to_str()?.to_owned())
    }

    /// What a link points to, as it is written.
    pub fn target(&self, link: &str) -> Option<PathBuf> {
        fs::read_link(self.path(link)).ok()
    }
}

/// Reads a list of CPUs as the kernel writes it, `0-3,8`. What is not of that form is left out.
pub fn cpu_list(text: &str) -> Vec<u32> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// Writes a sorted list of CPUs as kernel arguments take it.
pub fn write_cpu_list(cpus: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let written = parts.iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        },
    );
    written.collect::<Vec<_>>().join(",")
}
