//! Certificates and the user of a secured listener, made by the `keytool` that comes with Java.

use crate::cluster::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Guards nothing: the files live as long as the cluster, in its directory.
const PASSWORD: &str = "touchline-test";
/// The user that clients log in as.
const USER: &str = "touchline";
/// Long enough for any test, short enough to be no lasting secret.
const VALID_DAYS: &str = "2";

/// What a client needs for the secured listener, and what the broker does.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) ca: PathBuf,
    keystore: PathBuf,
}

impl Credentials {
    /// Makes a certificate authority and a certificate for `localhost` and `127.0.0.1` in `directory`, about two
    /// seconds. Errors: keytool is missing or fails.
    pub(crate) fn generate(directory: &Path) -> Result<Self, Error> {
        let made = Self { ca: directory.join("ca.pem"), keystore: directory.join("server.p12") };
        let key = |alias: &str, extra: &[&str]| {
            let common = ["-genkeypair", "-alias", alias, "-keyalg", "EC", "-validity", VALID_DAYS];
            made.keytool(&[common.as_slice(), extra].concat())
        };
        key("ca", &["-dname", "CN=touchline-test-ca", "-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign"])?;
        let name = ["-dname", "CN=localhost", "-ext", "san=dns:localhost,ip:127.0.0.1", "-signer", "ca"];
        key("server", &name)?;
        let ca = made.ca.display().to_string();
        made.keytool(&["-exportcert", "-rfc", "-alias", "ca", "-file", &ca])?;
        // The broker takes the first key that it finds.
        made.keytool(&["-delete", "-alias", "ca"])?;
        Ok(made)
    }

    fn keytool(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut command = Command::new("keytool");
        command.args(arguments).arg("-keystore").arg(&self.keystore);
        command.args(["-storetype", "PKCS12", "-storepass", PASSWORD, "-noprompt"]).stdin(Stdio::null());
        let output = command.output().map_err(|error| Error::io("start keytool", error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Error::Tool { tool: "keytool", said: String::from_utf8_lossy(&said).trim().to_owned() })
    }

    /// For `StorageTool format --add-scram`.
    pub(crate) fn scram() -> String {
        format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")
    }

    /// Properties of the broker for the listener of this name.
    pub(crate) fn broker_properties(&self, listener: &str) -> Vec<(String, String)> {
        let prefix = format!("listener.name.{}", listener.to_ascii_lowercase());
        let login = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        vec![
            (format!("{prefix}.ssl.keystore.type"), "PKCS12".into()),
            (format!("{prefix}.ssl.keystore.location"), self.keystore.display().to_string()),
            (format!("{prefix}.ssl.keystore.password"), PASSWORD.into()),
            (format!("{prefix}.ssl.key.password"), PASSWORD.into()),
            (format!("{prefix}.sasl.enabled.mechanisms"), "SCRAM-SHA-512".into()),
            (format!("{prefix}.scram-sha-512.sasl.jaas.config"), login.into()),
        ]
    }

    /// Settings of librdkafka for a client.
    pub(crate) fn client_settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", USER.to_owned()),
            ("sasl.password", PASSWORD.to_owned()),
            ("ssl.ca.location", self.ca.display().to_string()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }
}
