//! The kernel's hugepages, of which EAL takes memory.

use std::fs;
use std::path::Path;

/// Free hugepages of every size, in MiB.
pub fn free_hugepages_mib() -> u64 {
    free_mib(Path::new("/sys/kernel/mm/hugepages"))
}

fn free_mib(folder: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(folder) else { return 0 };
    let free_kib = |folder: &Path| {
        let name = folder.file_name()?.to_str()?;
        let size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: u64 = fs::read_to_string(folder.join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(size * free)
    };
    sizes.flatten().filter_map(|size| free_kib(&size.path())).sum::<u64>() / 1024
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn pages_of_every_size_count() {
        let folder = std::env::temp_dir().join(format!("dpdk-hugepages-{}", std::process::id()));
        for (name, free) in [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "2\n"), ("other", "9\n")] {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("free_hugepages"), free).unwrap();
        }
        assert_eq!(free_mib(&folder), 3 * 2 + 2 * 1024);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(free_mib(&folder), 0);
    }
}
