//! Configuration as written: names of secrets, never secrets. [`Options::load`] reads them into [`crate::Settings`].

use crate::settings::Limits;
use serde::Deserialize;
use std::path::PathBuf;

/// The `[ingest]` section. Unknown keys are refused. Of every `*_file`, `*_env` pair at most one may be given: the file
/// that holds the secret, or the environment variable. A secret written inline is an unknown key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Name of the site that serves tracked links: account of clicks and scope of anonymous visitors.
    pub site: String,
    /// Key of tracked links, at least 16 bytes. None: `/l/…` answers 404.
    pub link_key_file: Option<PathBuf>,
    /// As `link_key_file`.
    pub link_key_env: Option<String>,
    /// Bearer token of `POST /v1/events` and gRPC `IngestService`. None: open to whoever reaches the listener.
    pub events_token_file: Option<PathBuf>,
    /// As `events_token_file`.
    pub events_token_env: Option<String>,
    /// Tenants with their accounts. When there are any, events of other tenants are rejected.
    pub tenants: Vec<TenantOptions>,
    /// Bounds of requests.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            site: "links".to_owned(),
            link_key_file: None,
            link_key_env: None,
            events_token_file: None,
            events_token_env: None,
            tenants: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantOptions {
    /// Tenant name, as in cell keys.
    pub name: String,
    /// WeCom apps that call back.
    #[serde(default)]
    pub wecom: Vec<WecomOptions>,
    /// WeCom chat archives.
    #[serde(default)]
    pub archive: Vec<ArchiveOptions>,
    /// Youzan apps that push.
    #[serde(default)]
    pub youzan: Vec<YouzanOptions>,
    /// Tmall/Taobao apps whose messages a relay posts.
    #[serde(default)]
    pub taobao: Vec<TaobaoOptions>,
}

/// A WeCom app: `/callback/wecom/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WecomOptions {
    /// Last part of the address.
    pub name: String,
    /// Corp id.
    pub corp_id: String,
    /// Suite id of a third-party app; default: the corp id.
    pub receive_id: Option<String>,
    /// Callback token.
    pub token_file: Option<PathBuf>,
    /// As `token_file`.
    pub token_env: Option<String>,
    /// EncodingAESKey.
    pub aes_key_file: Option<PathBuf>,
    /// As `aes_key_file`.
    pub aes_key_env: Option<String>,
    /// User ids known to be staff.
    #[serde(default)]
    pub staff: Vec<String>,
}

/// A WeCom chat archive: `/archive/wecom/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveOptions {
    /// Last part of the address.
    pub name: String,
    /// Corp id.
    pub corp_id: String,
    /// User ids known to be staff: they decide the direction of messages.
    #[serde(default)]
    pub staff: Vec<String>,
    /// Bearer token of the sidecar. None: only loopback callers without forwarding headers. Give one whenever a
    /// proxy on the same machine forwards this address.
    pub token_file: Option<PathBuf>,
    /// As `token_file`.
    pub token_env: Option<String>,
}

/// A Youzan app: `/push/youzan/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YouzanOptions {
    /// Last part of the address.
    pub name: String,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret_file: Option<PathBuf>,
    /// As `client_secret_file`.
    pub client_secret_env: Option<String>,
    /// Shops (`kdt_id`); empty accepts every shop of the app.
    #[serde(default)]
    pub shops: Vec<u64>,
}

/// A Tmall/Taobao app: `/taobao/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaobaoOptions {
    /// Last part of the address.
    pub name: String,
    /// App key of the app that consumes the messages: buyers' open uids are valid within it.
    pub app_key: String,
    /// Sellers (`user_id`) whose messages are accepted; empty accepts every seller of the app.
    #[serde(default)]
    pub sellers: Vec<u64>,
    /// Bearer token of the relay. None: only loopback callers without forwarding headers. Give one whenever a proxy on
    /// the same machine forwards this address.
    pub token_file: Option<PathBuf>,
    /// As `token_file`.
    pub token_env: Option<String>,
}
