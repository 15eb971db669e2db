//! A real Prometheus that scrapes a bed's turnpike-control.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Control, Daemon, Lab, PATIENCE, wait_until};

const LISTEN: &str = "127.0.0.1:9091";

/// Prometheus in the firewall's namespace; ended when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    _daemon: Daemon,
}

impl Prometheus {
    /// Starts it, with a scrape every second, and waits for the first.
    ///
    /// # Errors
    /// It does not start, or cannot scrape.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (config, data) = (lab.folder.join("prometheus.yml"), lab.folder.join("prometheus"));
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs:\n  - job_name: turnpike\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
            Control::METRICS
        );
        std::fs::write(&config, text)?;
        let mut command = lab.firewall.command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={LISTEN}"))
            .arg("--log.level=warn");
        let daemon = Daemon::start(&mut command, &lab.folder.join("prometheus.log"))?;
        let prometheus = Self { _daemon: daemon };
        wait_until("the first scrape", PATIENCE, || {
            prometheus.value(lab, "up{job=\"turnpike\"}").is_ok_and(|up| up == 1.0)
        })
        .with_context(|| format!("prometheus said:\n{}", prometheus._daemon.said()))?;
        Ok(prometheus)
    }

    /// What a PromQL expression yields now: the value of each series.
    ///
    /// # Errors
    /// Prometheus does not understand it, or does not answer.
    pub fn query(&self, lab: &Lab, expression: &str) -> Result<Vec<f64>> {
        let mut command = lab.firewall.command("curl");
        command.args(["-sS", "--max-time", "20", "-G", &format!("http://{LISTEN}/api/v1/query")]);
        let done = command.arg("--data-urlencode").arg(format!("query={expression}")).output()?;
        let told: Value = serde_json::from_slice(&done.stdout)
            .with_context(|| format!("{expression}: {}", String::from_utf8_lossy(&done.stderr)))?;
        ensure!(told["status"] == "success", "{expression}: {told}");
        let series = told["data"]["result"].as_array().with_context(|| format!("{expression}: {told}"))?;
        let value = |one: &Value| one["value"][1].as_str().and_then(|value| value.parse().ok());
        series.iter().map(value).collect::<Option<_>>().with_context(|| format!("{expression}: {told}"))
    }

    /// The value of an expression that yields one series.
    ///
    /// # Errors
    /// As [`query`](Self::query), or it yields another number of series.
    pub fn value(&self, lab: &Lab, expression: &str) -> Result<f64> {
        match self.query(lab, expression)?[..] {
            [value] => Ok(value),
            ref values => anyhow::bail!("{expression} yields {values:?}"),
        }
    }

    /// Waits until an expression yields one series of this value.
    ///
    /// # Errors
    /// It does not.
    pub fn expect(&self, lab: &Lab, expression: &str, wanted: f64) -> Result<()> {
        let mut found = String::from("nothing");
        let reached = wait_until(&format!("{expression} to be {wanted}"), PATIENCE, || {
            let value = self.value(lab, expression);
            found = format!("{value:?}");
            value.is_ok_and(|value| value == wanted)
        });
        reached.with_context(|| format!("at last it was {found}"))
    }
}
