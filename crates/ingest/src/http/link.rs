//! Tracked links: `/l/{token}` redirects and leaves a click.
//!
//! No click is recorded for HEAD, for prefetches and for the crawlers and link previews in [`PREVIEWS`]: nobody read
//! anything. The surface is the token's, or `?s=` where one link is shown in several places.

use super::Ingest;
use super::query::parameter;
use crate::metrics::{self, ClickResult};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION, REFERRER_POLICY, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use touchline_channels::link::{self, Click, Link, Surface};
use uuid::Uuid;

/// Cookie of a visitor whom no token names.
const COOKIE_NAME: &str = "tl_v";
/// A year: the longest that browsers keep without renewal is a little more.
const COOKIE_SECONDS: u32 = 31_536_000;
/// Crawlers and link previews, as they name themselves, in lower case. Whole names only: phones are called CUBOT, and
/// a browser is called SogouMobileBrowser.
const PREVIEWS: [&str; 17] = [
    "360spider",
    "applebot",
    "baiduspider",
    "bingbot",
    "bytespider",
    "discordbot",
    "facebookexternalhit",
    "googlebot",
    "linkedinbot",
    "petalbot",
    "skypeuripreview",
    "slackbot",
    "sogou web spider",
    "telegrambot",
    "twitterbot",
    "yandexbot",
    "yisouspider",
];
const NOT_FOUND: &str = "<!doctype html><html lang=\"zh-CN\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>链接无效</title>\
    <p>这个链接无效或已失效，请向发送链接的工作人员索取新的链接。</p></html>";

/// 302 to the token's destination, whatever the log does; 404 with a page for people when the token is none of ours.
pub(super) async fn redirect(
    State(ingest): State<Ingest>,
    Path(token): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(mut link) = open(&ingest, &token) else {
        metrics::click(ClickResult::Invalid);
        return (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/html; charset=utf-8")], NOT_FOUND).into_response();
    };
    let Ok(location) = HeaderValue::from_str(&link.url) else {
        metrics::click(ClickResult::Invalid);
        return (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/html; charset=utf-8")], NOT_FOUND).into_response();
    };
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().insert(LOCATION, location);
    // A cached redirect would hide the next click; the token must not travel on as referrer.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if method == Method::HEAD || is_preview(&headers) {
        metrics::click(ClickResult::Preview);
        return response;
    }
    if let Some(surface) = query.and_then(|query| Surface::parse(&parameter(&query, "s")?)) {
        link.surface = surface;
    }
    let known = visitor(&headers);
    let visitor = known.unwrap_or_else(Uuid::new_v4);
    if link.contact.is_none() && known.is_none() {
        let cookie = format!("{COOKIE_NAME}={visitor}; Max-Age={COOKIE_SECONDS}; Path=/l; HttpOnly; SameSite=Lax");
        let cookie = HeaderValue::from_str(&cookie).expect("letters, digits and punctuation");
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    metrics::click(record(&ingest, &token, &link, visitor).await);
    response
}

fn open(ingest: &Ingest, token: &str) -> Option<Link> {
    link::open(ingest.settings().link_key.as_ref()?, token).ok()
}

async fn record(ingest: &Ingest, token: &str, link: &Link, visitor: Uuid) -> ClickResult {
    let now = ingest.publisher().now();
    let settings = ingest.settings();
    let (click_id, visitor) = (Uuid::new_v4().to_string(), visitor.to_string());
    let click = Click { click_id: &click_id, at: now, site: &settings.site, visitor: &visitor, received_at: now };
    let Ok(event) = link::click_event(token, link, click) else { return ClickResult::NotDurable };
    let results = ingest.publisher().publish(vec![event], settings.limits.click_timeout()).await;
    if results.iter().all(Result::is_ok) { ClickResult::Recorded } else { ClickResult::NotDurable }
}

fn is_preview(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = text(USER_AGENT.as_str()).to_ascii_lowercase();
    let prefetch = |name| text(name).to_ascii_lowercase().contains("prefetch");
    prefetch("purpose") || prefetch("sec-purpose") || PREVIEWS.iter().any(|name| agent.contains(name))
}

/// The visitor's cookie, if it is one of ours: an id we made, never a text of the caller's choosing.
fn visitor(headers: &HeaderMap) -> Option<Uuid> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE_NAME)?;
    Uuid::parse_str(value).ok()
}
