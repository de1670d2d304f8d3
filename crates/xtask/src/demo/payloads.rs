//! The channels' side: payloads on the shapes the channels really send, sealed and signed as they do.

use crate::http::{self, Answer};
use crate::live::Server;
use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};
use std::path::Path;
use touchline_channels::account::{Secret, Wecom, Youzan};
use touchline_channels::{wecom, youzan};
use touchline_model::time::{Time, Zone};

/// Whose data.
pub(crate) const TENANT: &str = "demo";
/// Made up: no corp has it.
pub(crate) const CORP: &str = "wwdemo0000000001";
const SHOP: u64 = 111_301_484;
/// The seller of the sample of Tmall messages.
pub(crate) const SELLER: u64 = 174_265_168;
/// The app that consumes them.
pub(crate) const TMALL_APP: &str = "12345678";
/// A page as the platform answers it, from creation to refund; the channel's tests read it, too.
const TMALL_PAGE: &str = include_str!("../../../channels/tests/fixtures/taobao_messages.json");
/// When the sample was sent, and when the story needs it.
const TMALL_HOURS: [&str; 2] = ["2026-11-21 12:", "2026-03-05 19:"];

/// The accounts of the demo, made up.
#[derive(Debug)]
pub(crate) struct Accounts {
    wecom: Wecom,
    youzan: Youzan,
    /// What the relay of Tmall messages shows.
    relay_token: Secret,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let tenant = TENANT.to_owned();
        let wecom = Wecom {
            tenant: tenant.clone(),
            corp_id: CORP.into(),
            receive_id: CORP.into(),
            token: Secret::new("demo-callback-token"),
            // Any 43 characters of base64 are a key.
            aes_key: Secret::new("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
            staff: ["zhangsan".to_owned(), "lisi".to_owned()].into(),
        };
        let client_secret = Secret::new("demo-client-secret");
        let youzan = Youzan { tenant, client_id: "demo-client".into(), client_secret, shops: [SHOP].into() };
        Self { wecom, youzan, relay_token: Secret::new("demo-relay-token") }
    }

    /// Writes the server's configuration and the secrets it names, and returns the path of the former.
    pub(crate) fn write(&self, directory: &Path) -> Result<String> {
        let secret = |name: &str, text: &str| -> Result<String> {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path.display().to_string())
        };
        let link_key = secret("link.key", "demo-link-key-0123456789abcdef")?;
        let token = secret("wecom.token", self.wecom.token.expose())?;
        let aes_key = secret("wecom.aes_key", self.wecom.aes_key.expose())?;
        let client_secret = secret("youzan.client_secret", self.youzan.client_secret.expose())?;
        let relay_token = secret("taobao.token", self.relay_token.expose())?;
        let client_id = &self.youzan.client_id;
        let config = format!(
            "[ingest]\n\
             site = \"demo\"\n\
             link_key_file = \"{link_key}\"\n\n\
             [[ingest.tenants]]\n\
             name = \"{TENANT}\"\n\n\
             [[ingest.tenants.wecom]]\n\
             name = \"main\"\n\
             corp_id = \"{CORP}\"\n\
             token_file = \"{token}\"\n\
             aes_key_file = \"{aes_key}\"\n\
             staff = [\"zhangsan\", \"lisi\"]\n\n\
             [[ingest.tenants.archive]]\n\
             name = \"main\"\n\
             corp_id = \"{CORP}\"\n\
             staff = [\"zhangsan\", \"lisi\"]\n\n\
             [[ingest.tenants.youzan]]\n\
             name = \"shop\"\n\
             client_id = \"{client_id}\"\n\
             client_secret_file = \"{client_secret}\"\n\
             shops = [{SHOP}]\n\n\
             [[ingest.tenants.taobao]]\n\
             name = \"tmall\"\n\
             app_key = \"{TMALL_APP}\"\n\
             sellers = [{SELLER}]\n\
             token_file = \"{relay_token}\"\n"
        );
        secret("touchline.toml", &config)
    }

    /// An encrypted callback: staff were added. `forged`: signed with another token.
    pub(crate) fn add_contact(&self, server: &Server, added: &Added<'_>, forged: bool) -> Result<Answer> {
        let Added { staff, customer, state, at } = added;
        let seconds = at.0 / 1_000;
        let inner = format!(
            "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>\
             <CreateTime>{seconds}</CreateTime><MsgType><![CDATA[event]]></MsgType>\
             <Event><![CDATA[change_external_contact]]></Event>\
             <ChangeType><![CDATA[add_external_contact]]></ChangeType><UserID><![CDATA[{staff}]]></UserID>\
             <ExternalUserID><![CDATA[{customer}]]></ExternalUserID><State><![CDATA[{state}]]></State>\
             <WelcomeCode><![CDATA[WELCOMECODE]]></WelcomeCode></xml>"
        );
        let mut account = self.wecom.clone();
        if forged {
            account.token = Secret::new("another token");
        }
        let sealed = wecom::seal(&account, &inner, &seconds.to_string(), "demononce", *b"sixteen bytes ok")?;
        let (signature, timestamp) = (&sealed.signed.msg_signature, &sealed.signed.timestamp);
        let path = format!("/callback/wecom/main?msg_signature={signature}&timestamp={timestamp}&nonce=demononce");
        http::post(&server.http, &path, &[("Content-Type", "text/xml")], sealed.body.as_bytes())
    }

    /// A line of the chat archive: `customer` writes to `staff`.
    pub(crate) fn write_message(&self, server: &Server, message: &Message<'_>) -> Result<Answer> {
        let line = json!({
            "msgid": message.id, "action": "send", "from": message.customer, "tolist": [message.staff], "roomid": "",
            "msgtime": message.at.0, "msgtype": "text", "text": {"content": message.text},
        });
        let body = format!("{line}\n");
        let headers = [("Content-Type", "application/x-ndjson")];
        http::post(&server.http, "/archive/wecom/main", &headers, body.as_bytes())
    }

    /// A signed push: `buyer` paid `order`. The full order is cut down to what decides here.
    pub(crate) fn pay_order(&self, server: &Server, buyer: &str, order: &str, paid_at: Time) -> Result<Answer> {
        let local = local(paid_at);
        let msg = json!({"full_order_info": {
            "order_info": {
                "tid": order, "status": "WAIT_SELLER_SEND_GOODS", "status_str": "待发货", "created": local,
                "pay_time": local, "update_time": local, "success_time": "", "consign_time": "", "close_type": 0,
                "order_tags": {"is_payed": true, "is_member": true},
            },
            "buyer_info": {"yz_open_id": buyer, "fans_type": 1, "buyer_id": 10_000_000_001_u64},
            "orders": [{
                "oid": "2893201869893533901", "item_id": 2_019_949_394_u64, "sku_id": 0, "outer_sku_id": "roi-199",
                "title": "企业版年费", "num": 1, "price": "199.00", "total_fee": "199.00", "payment": "199.00",
            }],
            "pay_info": {"total_fee": "199.00", "post_fee": "0.00", "payment": "199.00"},
            "source_info": {"source": {"platform": "wx", "wx_entrance": "direct_buy"}},
        }});
        let push = youzan::Push {
            event_type: "trade_TradePaid".into(),
            kdt_id: SHOP,
            id: order.into(),
            msg_id: Some(format!("paid-{order}")),
            status: Some("TRADE_PAID".into()),
            version: paid_at.0 / 1_000,
            msg,
            test: false,
        };
        let sent = push.send(&self.youzan);
        let headers = [
            ("Content-Type", "application/json"),
            ("Event-Sign", sent.event_sign.as_str()),
            ("Event-Type", sent.event_type.as_str()),
            ("Client-Id", sent.client_id.as_str()),
        ];
        http::post(&server.http, "/push/youzan/shop", &headers, &sent.body)
    }

    /// A page of Tmall messages, as the relay posts it: all of this order.
    pub(crate) fn relay_page(&self, server: &Server, order: &TmallOrder) -> Result<Answer> {
        self.relay(server, &order.page())
    }

    /// The message alone that says that the order was paid.
    pub(crate) fn relay_payment(&self, server: &Server, order: &TmallOrder) -> Result<Answer> {
        self.relay(server, &order.payment()?)
    }

    fn relay(&self, server: &Server, body: &str) -> Result<Answer> {
        let authorization = format!("Bearer {}", self.relay_token.expose());
        let headers = [("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
        http::post(&server.http, "/taobao/tmall", &headers, body.as_bytes())
    }
}

/// Who added whom, by which code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Added<'a> {
    pub(crate) staff: &'a str,
    pub(crate) customer: &'a str,
    pub(crate) state: &'a str,
    pub(crate) at: Time,
}

/// What tells an order at Tmall from another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TmallOrder {
    pub(crate) buyer_open_uid: &'static str,
    pub(crate) tid: &'static str,
    pub(crate) refund_id: &'static str,
    /// What the ids of its messages begin with.
    pub(crate) message_ids: &'static str,
}

impl TmallOrder {
    /// The order of the sample.
    pub(crate) const SAMPLE: Self = Self {
        buyer_open_uid: "AAHTESTOPENUID0001",
        tid: "612055618715866263",
        refund_id: "112233445566",
        message_ids: "6142200092063758",
    };

    /// The sample, at the story's time, with this order in place of its own.
    fn page(&self) -> String {
        let Self { buyer_open_uid, tid, refund_id, message_ids } = Self::SAMPLE;
        let page = TMALL_PAGE.replace(TMALL_HOURS[0], TMALL_HOURS[1]);
        let page = page.replace(buyer_open_uid, self.buyer_open_uid).replace(tid, self.tid);
        page.replace(refund_id, self.refund_id).replace(message_ids, self.message_ids)
    }

    fn payment(&self) -> Result<String> {
        let page: Json = serde_json::from_str(&self.page()).context("the sample is no JSON")?;
        let messages = page["tmc_messages_consume_response"]["messages"]["tmc_message"].as_array();
        let mut messages = messages.into_iter().flatten();
        let payment = messages.find(|message| message["topic"] == "taobao_trade_TradeBuyerPay");
        Ok(payment.context("the sample has no payment")?.to_string())
    }
}

/// What a customer writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) id: &'a str,
    pub(crate) customer: &'a str,
    pub(crate) staff: &'a str,
    pub(crate) text: &'a str,
    pub(crate) at: Time,
}

/// Sends one event in the open form. Errors: it is not accepted.
pub(crate) fn post_event(server: &Server, event: &Json) -> Result<()> {
    let headers = [("Content-Type", "application/json")];
    let answer = http::post(&server.http, "/v1/events", &headers, event.to_string().as_bytes())?;
    let reply: Json = serde_json::from_str(&answer.body).unwrap_or(Json::Null);
    if answer.status == 200 && reply["results"][0]["status"] == "accepted" {
        return Ok(());
    }
    bail!("the event was not accepted: {} {}", answer.status, answer.body)
}

/// Youzan writes times in China's clock: `2026-03-02 21:30:00`.
fn local(time: Time) -> String {
    Zone::SHANGHAI.format(time).chars().map(|c| if c == 'T' { ' ' } else { c }).take(19).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_order_leaves_nothing_of_the_sample() {
        let order = TmallOrder { buyer_open_uid: "AAH2", tid: "72", refund_id: "82", message_ids: "92" };
        let TmallOrder { buyer_open_uid, tid, refund_id, message_ids } = TmallOrder::SAMPLE;
        for (sample, other, times) in [
            (buyer_open_uid, order.buyer_open_uid, 7),
            (tid, order.tid, 14),
            (refund_id, order.refund_id, 2),
            (message_ids, order.message_ids, 7),
            (TMALL_HOURS[0], TMALL_HOURS[1], 9),
        ] {
            assert_eq!(TMALL_PAGE.matches(sample).count(), times, "{sample}");
            assert_eq!(order.page().matches(sample).count(), 0, "{sample}");
            assert!(order.page().matches(other).count() >= times, "{other}");
        }
        let payment: Json = serde_json::from_str(&order.payment().unwrap()).unwrap();
        assert_eq!(payment["id"], 92_447);
        assert_eq!(payment["pub_time"], "2026-03-05 19:01:00");
    }

    #[test]
    fn youzan_reads_its_own_time() {
        let time = Time::parse_rfc3339("2026-03-02T21:30:00+08:00").unwrap();
        assert_eq!(local(time), "2026-03-02 21:30:00");
        assert_eq!(Zone::SHANGHAI.parse_local(&local(time)), Some(time));
    }
}
