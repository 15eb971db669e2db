//! A real web server in a namespace.

use std::path::Path;

use anyhow::Result;

use crate::{Daemon, Namespace, PATIENCE, wait_until};

/// nginx, serving a folder on port 80 of every address of a namespace.
#[derive(Debug)]
pub struct WebServer {
    daemon: Daemon,
}

impl WebServer {
    /// Starts it; `folder` holds what it serves, and gets its configuration and logs.
    ///
    /// # Errors
    /// nginx is missing or does not listen.
    pub fn start(namespace: &Namespace, folder: &Path) -> Result<Self> {
        let root = folder.display();
        let configuration = format!(
            "daemon off; pid {root}/nginx.pid; error_log {root}/nginx.err; worker_processes 1; user root;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
             fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
             server {{ listen 80; listen [::]:80; root {root}; dav_methods PUT; client_max_body_size 0; }} }}\n"
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, configuration)?;
        let mut command = namespace.command("nginx");
        command.arg("-c").arg(&path).arg("-e").arg(folder.join("nginx.err"));
        let daemon = Daemon::start(&mut command, &folder.join("nginx.log"))?;
        wait_until("nginx to listen", PATIENCE, || {
            namespace.try_run("ss -Hltn sport = :80").is_ok_and(|sockets| !sockets.text.trim().is_empty())
        })?;
        Ok(Self { daemon })
    }

    /// Lets it run on when this value is dropped.
    pub fn keep(&mut self) {
        self.daemon.keep();
    }
}
