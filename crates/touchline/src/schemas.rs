//! `GET /v1/schema/playbook` and `/v1/schema/directory`: what editors complete and check by.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use touchline_playbook::documents::DOCUMENTS;
use touchline_playbook::schema;

/// One endpoint for each kind of document, beside that of events.
pub(crate) fn router() -> Router {
    DOCUMENTS.iter().fold(Router::new(), |router, document| {
        // Made once: it is asked for often by editors, and never changes.
        let schema = schema::of(document).to_string();
        let answer = get(async move || ([(CONTENT_TYPE, "application/schema+json")], schema.clone()));
        router.route(&format!("/v1/schema/{}", document.kind), answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    #[tokio::test]
    async fn each_kind_of_document_has_its_schema() {
        for document in &DOCUMENTS {
            let path = format!("/v1/schema/{}", document.kind);
            let request = Request::get(&path).body(Body::empty()).expect("a request");
            let answer = router().oneshot(request).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/schema+json");
            let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body, schema::of(document));
        }
    }
}
