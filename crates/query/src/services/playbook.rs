//! Playbooks: checking and activating.

use super::segment::diagnostic_to;
use crate::commands::{self, Asked};
use crate::error;
use crate::names;
use crate::server::{Server, answer, with_tenant};
use tonic::{Request, Response, Status};
use touchline_model::command::{CommandBody, PlaybookSource, replaced};
use touchline_playbook::codes::Severity;
use touchline_playbook::compile::{compile_beside, compile_with_warnings, playbook_id};
use touchline_playbook::diagnostic::Diagnostic;
use touchline_playbook::directory;
use touchline_proto::{migrations_from, v1};
use v1::playbook_service_server::PlaybookService;

#[tonic::async_trait]
impl PlaybookService for Server {
    async fn validate_playbook(
        &self,
        request: Request<v1::ValidatePlaybookRequest>,
    ) -> Result<Response<v1::ValidatePlaybookResponse>, Status> {
        answer("ValidatePlaybook", async {
            self.read(move |_| {
                let found = identified(&request.get_ref().sources)
                    .and_then(|sources| compile_with_warnings(&sources, 0).map(|(_, warnings)| warnings));
                let diagnostics = diagnostics(found.unwrap_or_else(|errors| errors));
                Ok(v1::ValidatePlaybookResponse { diagnostics })
            })
            .await
        })
        .await
    }

    async fn activate_playbook(
        &self,
        request: Request<v1::ActivatePlaybookRequest>,
    ) -> Result<Response<v1::ActivatePlaybookResponse>, Status> {
        answer("ActivatePlaybook", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let tenant = names::tenant("parent", &request.parent)?;
            if request.sources.is_empty() && request.remove.is_empty() {
                return Err(error::invalid("sources", "name a playbook to put in force or to take out"));
            }
            let sources = identified(&request.sources).map_err(|errors| error::playbook(&errors))?;
            let now = self.in_force(&tenant).1;
            let after = replaced(&now, &sources, &request.remove);
            let of = tenant.clone();
            // Everything wrong is said here, with its place, before anything is written.
            let warnings = self
                .read(move |shared| {
                    let directory = with_tenant(&shared.model(), &of, |tenant| tenant.directory().clone());
                    compile_beside(&after, 0, &directory).map_err(|errors| error::playbook(&errors))
                })
                .await?
                .1;
            let migrations =
                migrations_from(request.migrations).map_err(|wrong| error::invalid("migrations", wrong.to_string()))?;
            let (remove, expected_active) = (request.remove, request.expected_active);
            let body = CommandBody::Activate { sources, remove, expected_active, migrations };
            let asked = Asked { tenant, request_id: request.request_id, actor: request.actor, body };
            let answer = commands::carry_out(&self.shared, asked, deadline).await?;
            let (bundle, token) = self
                .shared
                .wait_for(deadline, |model| {
                    let number = model.activation(answer.result.position)?;
                    (model.bundle() >= number).then(|| (number, self.shared.token(model)))
                })
                .await?;
            Ok(v1::ActivatePlaybookResponse { bundle, diagnostics: diagnostics(warnings), token: Some(token) })
        })
        .await
    }

    async fn set_directory(
        &self,
        request: Request<v1::SetDirectoryRequest>,
    ) -> Result<Response<v1::SetDirectoryResponse>, Status> {
        answer("SetDirectory", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let tenant = names::tenant("parent", &request.parent)?;
            let yaml = request.yaml;
            // Everything wrong is said here, with its place, before anything is written.
            let (yaml, entries) = self
                .read(move |_| match directory::parse(&yaml) {
                    Ok(entries) => Ok((yaml, entries.len())),
                    Err(errors) => Err(error::playbook(&errors)),
                })
                .await?;
            let body = CommandBody::SetDirectory { yaml };
            let asked = Asked { tenant, request_id: request.request_id, actor: request.actor, body };
            let answer = commands::carry_out(&self.shared, asked, deadline).await?;
            let token = self
                .shared
                .wait_for(deadline, |model| {
                    model.has_directory(answer.result.position).then(|| self.shared.token(model))
                })
                .await?;
            let entries = u32::try_from(entries).unwrap_or(u32::MAX);
            Ok(v1::SetDirectoryResponse { entries, token: Some(token) })
        })
        .await
    }

    async fn list_playbooks(
        &self,
        request: Request<v1::ListPlaybooksRequest>,
    ) -> Result<Response<v1::ListPlaybooksResponse>, Status> {
        answer("ListPlaybooks", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let tenant = names::tenant("parent", &request.parent)?;
            self.shared.fresh(request.read, deadline).await?;
            let token = self.shared.token(&self.shared.model());
            let (bundle, sources) = self.in_force(&tenant);
            let playbooks = sources.into_iter().map(|source| v1::PlaybookSource { id: source.id, yaml: source.yaml });
            Ok(v1::ListPlaybooksResponse { bundle, playbooks: playbooks.collect(), token: Some(token) })
        })
        .await
    }
}

impl Server {
    /// Number and sources of the tenant's bundle; 0 and none before the first activation.
    fn in_force(&self, tenant: &str) -> (u64, Vec<PlaybookSource>) {
        let model = self.shared.model();
        let bundle = model.tenant(tenant).and_then(|tenant| tenant.bundle());
        bundle.map(|bundle| (bundle.number, bundle.sources.clone())).unwrap_or_default()
    }
}

/// Sources under the ids that they give themselves.
fn identified(texts: &[String]) -> Result<Vec<PlaybookSource>, Vec<Diagnostic>> {
    let (mut sources, mut errors) = (Vec::new(), Vec::new());
    for yaml in texts {
        match playbook_id(yaml) {
            Ok(id) => sources.push(PlaybookSource { id, yaml: yaml.clone() }),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(sources) } else { Err(errors) }
}

/// Errors first, otherwise in order.
fn diagnostics(mut found: Vec<Diagnostic>) -> Vec<v1::Diagnostic> {
    found.sort_by_key(|diagnostic| diagnostic.severity != Severity::Error);
    found.iter().map(|diagnostic| diagnostic_to(diagnostic, diagnostic.source_id.clone())).collect()
}
