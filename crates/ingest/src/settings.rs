//! Configuration as used: accounts with their secrets, read from files and the environment.

use crate::options::{ArchiveOptions, Options, TaobaoOptions, WecomOptions, YouzanOptions};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use touchline_channels::account::{Secret, Taobao, Wecom, Youzan};

/// What ingest runs with. Secrets do not print.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Name of the site that serves tracked links.
    pub site: String,
    /// Key of tracked links.
    pub link_key: Option<Secret>,
    /// Bearer token of `POST /v1/events` and gRPC.
    pub events_token: Option<Secret>,
    /// Tenants whose events are accepted; empty accepts all.
    pub tenants: BTreeSet<String>,
    /// WeCom apps by the last part of their address.
    pub wecom: BTreeMap<String, Wecom>,
    /// WeCom chat archives by the last part of their address.
    pub archive: BTreeMap<String, Archive>,
    /// Youzan apps by the last part of their address.
    pub youzan: BTreeMap<String, Youzan>,
    /// Tmall/Taobao apps by the last part of their address.
    pub taobao: BTreeMap<String, Relay>,
    /// Bounds of requests.
    pub limits: Limits,
}

/// A WeCom chat archive.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Corp id and staff; token and AES key are empty and unused.
    pub account: Wecom,
    /// Bearer token of the sidecar; none: loopback only.
    pub token: Option<Secret>,
}

/// A Tmall/Taobao app whose messages are posted by a relay: the program that holds the connection to the queue.
#[derive(Debug, Clone)]
pub struct Relay {
    /// App key and sellers.
    pub account: Taobao,
    /// Bearer token of the relay; none: loopback only.
    pub token: Option<Secret>,
}

/// Bounds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest body of `POST /v1/events`, in bytes. Default 1 MiB.
    pub body_bytes_max: usize,
    /// Longest chat-archive request, in bytes; one line is at most 1 MiB. Default 64 MiB.
    pub archive_bytes_max: usize,
    /// Requests handled at once; more are answered 503. Default 1024: with the largest bodies about 1 GiB.
    pub requests_max: usize,
    /// A body (of the archive: each piece of it) must arrive within this, in milliseconds. Default 10 000.
    pub read_timeout_ms: u64,
    /// An append must be acknowledged within this, in milliseconds. Default 4 000: channels hang up after 5 s.
    pub append_timeout_ms: u64,
    /// A tracked link redirects after this even if the click is not durable, in milliseconds. Default 1 000.
    pub click_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            archive_bytes_max: 64 * 1024 * 1024,
            requests_max: 1_024,
            read_timeout_ms: 10_000,
            append_timeout_ms: 4_000,
            click_timeout_ms: 1_000,
        }
    }
}

impl Limits {
    pub(crate) const fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }
    pub(crate) const fn append_timeout(&self) -> Duration {
        Duration::from_millis(self.append_timeout_ms)
    }
    pub(crate) const fn click_timeout(&self) -> Duration {
        Duration::from_millis(self.click_timeout_ms)
    }
}

/// Why the configuration cannot be used. Names keys, files and variables, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Neither a file nor a variable is named.
    #[error("{key} of `{of}` is missing\nhint: set {key}_file or {key}_env")]
    Missing {
        /// The secret.
        key: &'static str,
        /// Whose.
        of: String,
    },
    /// Both a file and a variable are named.
    #[error("{key} of `{of}` is given twice\nhint: keep one of {key}_file and {key}_env")]
    Twice {
        /// The secret.
        key: &'static str,
        /// Whose.
        of: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}\nhint: the file named by {key}_file must be readable", path.display())]
    File {
        /// The secret.
        key: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The variable is not there.
    #[error("environment variable {variable}, named by {key}_env, is not set")]
    Variable {
        /// The secret.
        key: &'static str,
        /// Where it should be.
        variable: String,
    },
    /// A secret of no characters.
    #[error("{key} of `{of}` is empty")]
    Empty {
        /// The secret.
        key: &'static str,
        /// Whose.
        of: String,
    },
    /// A link key that is easier to guess than a token.
    #[error("link_key has fewer than {bytes_min} bytes\nhint: head -c 32 /dev/urandom | base64")]
    WeakLinkKey {
        /// The bound.
        bytes_min: usize,
    },
    /// Two accounts of one kind have one address.
    #[error("two {kind} accounts are named `{name}`\nhint: the name is the last part of the address")]
    SameName {
        /// wecom, archive, youzan or taobao.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

impl Options {
    /// Reads all secrets.
    pub fn load(&self) -> Result<Settings, OptionsError> {
        let link_key = optional("link_key", "ingest", self.link_key_file.as_deref(), self.link_key_env.as_deref())?;
        let bytes_min = touchline_channels::link::KEY_BYTES_MIN;
        if link_key.as_ref().is_some_and(|key| key.expose().len() < bytes_min) {
            return Err(OptionsError::WeakLinkKey { bytes_min });
        }
        let (token_file, token_env) = (self.events_token_file.as_deref(), self.events_token_env.as_deref());
        let mut settings = Settings {
            site: self.site.clone(),
            link_key,
            events_token: optional("events_token", "ingest", token_file, token_env)?,
            limits: self.limits,
            ..Settings::default()
        };
        for tenant in &self.tenants {
            settings.tenants.insert(tenant.name.clone());
            for options in &tenant.wecom {
                put(&mut settings.wecom, "wecom", &options.name, wecom(&tenant.name, options)?)?;
            }
            for options in &tenant.archive {
                put(&mut settings.archive, "archive", &options.name, archive(&tenant.name, options)?)?;
            }
            for options in &tenant.youzan {
                put(&mut settings.youzan, "youzan", &options.name, youzan(&tenant.name, options)?)?;
            }
            for options in &tenant.taobao {
                put(&mut settings.taobao, "taobao", &options.name, taobao(&tenant.name, options)?)?;
            }
        }
        Ok(settings)
    }
}

fn put<T>(accounts: &mut BTreeMap<String, T>, kind: &'static str, name: &str, account: T) -> Result<(), OptionsError> {
    match accounts.insert(name.to_owned(), account) {
        None => Ok(()),
        Some(_) => Err(OptionsError::SameName { kind, name: name.to_owned() }),
    }
}

fn wecom(tenant: &str, options: &WecomOptions) -> Result<Wecom, OptionsError> {
    let WecomOptions { name, corp_id, receive_id, token_file, token_env, aes_key_file, aes_key_env, staff } = options;
    Ok(Wecom {
        tenant: tenant.to_owned(),
        corp_id: corp_id.clone(),
        receive_id: receive_id.clone().unwrap_or_else(|| corp_id.clone()),
        token: required("token", name, token_file.as_deref(), token_env.as_deref())?,
        aes_key: required("aes_key", name, aes_key_file.as_deref(), aes_key_env.as_deref())?,
        staff: staff.iter().cloned().collect(),
    })
}

fn archive(tenant: &str, options: &ArchiveOptions) -> Result<Archive, OptionsError> {
    let ArchiveOptions { name, corp_id, staff, token_file, token_env } = options;
    let account = Wecom {
        tenant: tenant.to_owned(),
        corp_id: corp_id.clone(),
        receive_id: corp_id.clone(),
        token: Secret::new(""),
        aes_key: Secret::new(""),
        staff: staff.iter().cloned().collect(),
    };
    Ok(Archive { account, token: optional("token", name, token_file.as_deref(), token_env.as_deref())? })
}

fn youzan(tenant: &str, options: &YouzanOptions) -> Result<Youzan, OptionsError> {
    let YouzanOptions { name, client_id, client_secret_file, client_secret_env, shops } = options;
    let (file, env) = (client_secret_file.as_deref(), client_secret_env.as_deref());
    Ok(Youzan {
        tenant: tenant.to_owned(),
        client_id: client_id.clone(),
        client_secret: required("client_secret", name, file, env)?,
        shops: shops.iter().copied().collect(),
    })
}

fn taobao(tenant: &str, options: &TaobaoOptions) -> Result<Relay, OptionsError> {
    let TaobaoOptions { name, app_key, sellers, token_file, token_env } = options;
    let account =
        Taobao { tenant: tenant.to_owned(), app_key: app_key.clone(), sellers: sellers.iter().copied().collect() };
    Ok(Relay { account, token: optional("token", name, token_file.as_deref(), token_env.as_deref())? })
}

fn required(key: &'static str, of: &str, file: Option<&Path>, env: Option<&str>) -> Result<Secret, OptionsError> {
    optional(key, of, file, env)?.ok_or_else(|| OptionsError::Missing { key, of: of.to_owned() })
}

fn optional(
    key: &'static str,
    of: &str,
    file: Option<&Path>,
    env: Option<&str>,
) -> Result<Option<Secret>, OptionsError> {
    let text = match (file, env) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(OptionsError::Twice { key, of: of.to_owned() }),
        (Some(path), None) => {
            std::fs::read_to_string(path).map_err(|source| OptionsError::File { key, path: path.to_owned(), source })?
        }
        (None, Some(variable)) => {
            std::env::var(variable).map_err(|_| OptionsError::Variable { key, variable: variable.to_owned() })?
        }
    };
    // Editors end files with a newline that is no part of the secret.
    match text.trim() {
        "" => Err(OptionsError::Empty { key, of: of.to_owned() }),
        secret => Ok(Some(Secret::new(secret))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(json: serde_json::Value) -> Result<Options, serde_json::Error> {
        serde_json::from_value(json)
    }

    #[test]
    fn secrets_come_from_files_and_do_not_print() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
            directory.path().join(name)
        };
        let parsed = options(json!({
            "link_key_file": file("link", "0123456789abcdef-CANARY\n"),
            "tenants": [{
                "name": "acme",
                "wecom": [{"name": "main", "corp_id": "ww1", "token_file": file("t", "CANARY-token\n"),
                    "aes_key_file": file("k", "CANARY-key")}],
                "archive": [{"name": "main", "corp_id": "ww1", "staff": ["zhangsan"]}],
                "youzan": [{"name": "shop", "client_id": "c1", "client_secret_file": file("s", "CANARY-secret"),
                    "shops": [160]}],
                "taobao": [{"name": "tmall", "app_key": "12345678", "sellers": [174_265_168],
                    "token_file": file("r", "CANARY-relay\n")}],
            }],
        }));
        let settings = parsed.unwrap().load().unwrap();
        assert_eq!(settings.wecom["main"].token.expose(), "CANARY-token");
        assert_eq!(settings.wecom["main"].receive_id, "ww1");
        assert_eq!(settings.youzan["shop"].client_secret.expose(), "CANARY-secret");
        let relay = &settings.taobao["tmall"];
        assert_eq!(relay.token.as_ref().map(Secret::expose), Some("CANARY-relay"));
        assert_eq!((relay.account.tenant.as_str(), relay.account.app_key.as_str()), ("acme", "12345678"));
        assert_eq!(relay.account.sellers, [174_265_168].into());
        assert!(settings.archive["main"].account.staff.contains("zhangsan"));
        assert!(!format!("{settings:?}").contains("CANARY"));
    }

    #[test]
    fn inline_secrets_and_unknown_keys_are_refused() {
        for bad in [
            json!({"link_key": "0123456789abcdef"}),
            json!({"tenants": [{"name": "a", "wecom": [{"name": "m", "corp_id": "w", "token": "t"}]}]}),
            json!({"tenants": [{"name": "a", "taobao": [{"name": "m", "app_key": "k", "token": "t"}]}]}),
            json!({"limits": {"body_bytes": 1}}),
            json!({"tenants": [{"nam": "a"}]}),
        ] {
            assert!(options(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
            directory.path().join(name)
        };
        let youzan = json!({"name": "s", "client_id": "c", "client_secret_file": file("s", "x")});
        let taobao = json!({"name": "t", "app_key": "k"});
        for (bad, said) in [
            (json!({"link_key_file": file("short", "abc")}), "link_key has fewer than 16 bytes"),
            (json!({"link_key_file": file("empty", "\n")}), "link_key of `ingest` is empty"),
            (json!({"link_key_file": directory.path().join("nowhere")}), "cannot read"),
            (json!({"link_key_env": "TOUCHLINE_TEST_NOT_SET"}), "TOUCHLINE_TEST_NOT_SET"),
            (json!({"link_key_env": "A", "link_key_file": "b"}), "given twice"),
            (json!({"tenants": [{"name": "a", "wecom": [{"name": "m", "corp_id": "w"}]}]}), "token of `m` is missing"),
            (json!({"tenants": [{"name": "a", "youzan": [youzan, youzan]}]}), "two youzan accounts are named `s`"),
            (json!({"tenants": [{"name": "a", "taobao": [taobao, taobao]}]}), "two taobao accounts are named `t`"),
        ] {
            let error = options(bad).unwrap().load().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
