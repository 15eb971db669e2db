//! System calls by what they are for. A process puts its own list together out of these.

use crate::Call;

/// System calls with any arguments.
macro_rules! calls {
    ($($number:ident),* $(,)?) => { &[$(Call::any(libc::$number)),*] };
}

/// System calls that only older kinds of machines have.
#[cfg(target_arch = "x86_64")]
macro_rules! older_calls {
    ($($number:ident),* $(,)?) => { calls![$($number),*] };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! older_calls {
    ($($number:ident),* $(,)?) => {
        &[]
    };
}

/// What every thread does: use its memory and its stack, wait for others, tell the time, end.
pub const ALWAYS: &[Call] = &[
    Call::any(libc::SYS_brk),
    Call::any(libc::SYS_munmap),
    Call::any(libc::SYS_mremap),
    Call::any(libc::SYS_madvise),
    // Memory that holds code is made by the loader, before any filter.
    Call::without_bits(libc::SYS_mmap, 2, libc::PROT_EXEC as u64),
    Call::without_bits(libc::SYS_mprotect, 2, libc::PROT_EXEC as u64),
    Call::any(libc::SYS_futex),
    Call::any(libc::SYS_sched_yield),
    Call::any(libc::SYS_getcpu),
    Call::any(libc::SYS_clock_gettime),
    Call::any(libc::SYS_clock_getres),
    Call::any(libc::SYS_clock_nanosleep),
    Call::any(libc::SYS_nanosleep),
    Call::any(libc::SYS_gettimeofday),
    Call::any(libc::SYS_restart_syscall),
    Call::any(libc::SYS_getrandom),
    Call::any(libc::SYS_getpid),
    Call::any(libc::SYS_gettid),
    Call::any(libc::SYS_rt_sigaction),
    Call::any(libc::SYS_rt_sigprocmask),
    Call::any(libc::SYS_rt_sigreturn),
    Call::any(libc::SYS_sigaltstack),
    Call::any(libc::SYS_exit),
    Call::any(libc::SYS_exit_group),
];

/// Calls that this process is told the kernel does not know: the C library then uses others, which can be filtered by
/// their arguments.
pub const UNKNOWN: &[Call] = calls![SYS_clone3, SYS_io_uring_setup];

/// Reads and writes what is open.
pub const STREAMS: &[Call] = calls![
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_lseek,
    SYS_close,
    SYS_fstat,
    SYS_fcntl,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_sendmmsg,
    SYS_recvmmsg,
    SYS_shutdown,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_getsockname,
    SYS_getpeername,
];

/// Waits for what is open.
pub const WAITING: &[Call] = calls![
    SYS_ppoll,
    SYS_pselect6,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_pipe2,
    SYS_dup,
    SYS_dup3,
];
/// The same, as older programs do it.
pub const WAITING_OLDER: &[Call] =
    older_calls![SYS_poll, SYS_select, SYS_epoll_create, SYS_epoll_wait, SYS_eventfd, SYS_pipe, SYS_dup2];

/// Starts threads of the same process, never another process, and gives up rights.
pub const THREADS: &[Call] = &[
    Call::with_bits(libc::SYS_clone, 0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64),
    Call::any(libc::SYS_set_robust_list),
    Call::any(libc::SYS_get_robust_list),
    Call::any(libc::SYS_rseq),
    Call::any(libc::SYS_membarrier),
    Call::any(libc::SYS_sched_getaffinity),
    Call::any(libc::SYS_sched_setaffinity),
    Call::any(libc::SYS_sched_getparam),
    Call::any(libc::SYS_sched_getscheduler),
    Call::with(libc::SYS_prctl, 0, libc::PR_SET_NAME as u64),
    Call::with(libc::SYS_prctl, 0, libc::PR_GET_NAME as u64),
    Call::with(libc::SYS_prctl, 0, libc::PR_SET_VMA as u64),
    Call::with(libc::SYS_prctl, 0, libc::PR_SET_NO_NEW_PRIVS as u64),
    Call::with(libc::SYS_prctl, 0, libc::PR_CAP_AMBIENT as u64),
    Call::any(libc::SYS_capget),
    Call::any(libc::SYS_capset),
    Call::any(libc::SYS_seccomp),
];

/// Places memory, keeps it from being swapped, writes it back, hands it to another process.
pub const MEMORY: &[Call] = calls![
    SYS_memfd_create,
    SYS_mlock,
    SYS_mlock2,
    SYS_munlock,
    SYS_msync,
    SYS_get_mempolicy,
    SYS_set_mempolicy,
    SYS_mbind
];

/// Asks who this process is, and what the machine has.
pub const ENQUIRIES: &[Call] = &[
    Call::any(libc::SYS_getuid),
    Call::any(libc::SYS_geteuid),
    Call::any(libc::SYS_getgid),
    Call::any(libc::SYS_getegid),
    Call::any(libc::SYS_getgroups),
    Call::any(libc::SYS_getresuid),
    Call::any(libc::SYS_getresgid),
    Call::any(libc::SYS_getppid),
    Call::any(libc::SYS_getrusage),
    Call::any(libc::SYS_uname),
    Call::any(libc::SYS_sysinfo),
    // Reads a limit, and sets none.
    Call::with_bits(libc::SYS_prlimit64, 2, u64::MAX, 0),
];

/// Opens files that are there, and looks at folders. Makes none.
pub const READING: &[Call] = &[
    Call::without_bits(libc::SYS_openat, 2, (libc::O_CREAT | UNNAMED) as u64),
    Call::any(libc::SYS_newfstatat),
    Call::any(libc::SYS_statx),
    Call::any(libc::SYS_statfs),
    Call::any(libc::SYS_fstatfs),
    Call::any(libc::SYS_faccessat),
    Call::any(libc::SYS_faccessat2),
    Call::any(libc::SYS_readlinkat),
    Call::any(libc::SYS_getdents64),
    Call::any(libc::SYS_getcwd),
    Call::any(libc::SYS_flock),
    Call::any(libc::SYS_fadvise64),
];
/// The same, as older programs do it.
pub const READING_OLDER: &[Call] = older_calls![SYS_stat, SYS_lstat, SYS_access, SYS_readlink];

/// The bit of `O_TMPFILE` that is not that of `O_DIRECTORY`.
const UNNAMED: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// Removes files and folders.
pub const REMOVING: &[Call] = calls![SYS_unlinkat];
/// The same, as older programs do it.
pub const REMOVING_OLDER: &[Call] = older_calls![SYS_unlink, SYS_rmdir];

/// Makes files and folders, and changes them.
pub const WRITING: &[Call] = calls![
    SYS_openat,
    SYS_mkdirat,
    SYS_renameat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_fsync,
    SYS_fdatasync,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_copy_file_range,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_umask,
];
/// The same, as older programs do it.
pub const WRITING_OLDER: &[Call] =
    older_calls![SYS_mkdir, SYS_rename, SYS_link, SYS_symlink, SYS_chmod, SYS_chown, SYS_lchown];

/// Loads libraries, as those that find names: code from files, never from memory that was written.
pub const LOADING: &[Call] = &[Call::without_bits(libc::SYS_mmap, 2, libc::PROT_WRITE as u64)];

/// Makes sockets for other processes of this machine and for IP.
pub const SOCKETS: &[Call] = &[
    Call::with(libc::SYS_socket, 0, libc::AF_UNIX as u64),
    Call::with(libc::SYS_socket, 0, libc::AF_INET as u64),
    Call::with(libc::SYS_socket, 0, libc::AF_INET6 as u64),
    Call::any(libc::SYS_socketpair),
    Call::any(libc::SYS_connect),
    Call::any(libc::SYS_bind),
    Call::any(libc::SYS_listen),
    Call::any(libc::SYS_accept),
    Call::any(libc::SYS_accept4),
];

/// Speaks to the kernel about interfaces and routes.
pub const NETLINK: &[Call] = &[Call::with(libc::SYS_socket, 0, libc::AF_NETLINK as u64)];

/// Uses packet sockets.
pub const PACKETS: &[Call] = &[Call::with(libc::SYS_socket, 0, libc::AF_PACKET as u64)];

/// Asks for programs and maps of the kernel and takes them off, and looks after the folders where they are kept; without
/// capabilities there is hardly anything to be had.
pub const PROGRAMS: &[Call] = calls![SYS_bpf, SYS_mkdirat];
/// The same, as older programs do it.
pub const PROGRAMS_OLDER: &[Call] = older_calls![SYS_mkdir];

/// Controls devices.
pub const DEVICES: &[Call] = calls![SYS_ioctl];
