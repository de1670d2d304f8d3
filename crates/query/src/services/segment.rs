//! Counting and listing by condition.

use crate::error;
use crate::model::{ReadModel, Tenant};
use crate::page::{self, Question};
use crate::server::{Server, answer, evaluate, filter_condition, with_tenant};
use crate::shared::Shared;
use crate::{names, sets};
use prost::Message;
use tonic::{Code, Request, Response, Status};
use touchline_model::id::ContactId;
use touchline_playbook::bundle::Condition;
use touchline_playbook::codes::Severity;
use touchline_playbook::diagnostic::Diagnostic;
use touchline_proto::v1;
use v1::segment_service_server::SegmentService;

#[tonic::async_trait]
impl SegmentService for Server {
    async fn count_segment(
        &self,
        request: Request<v1::CountSegmentRequest>,
    ) -> Result<Response<v1::CountSegmentResponse>, Status> {
        answer("CountSegment", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let tenant = names::tenant("parent", &request.parent)?;
            let members = Members::of_count(request.of)?;
            self.shared.fresh(request.read, deadline).await?;
            self.read(move |shared| {
                let model = shared.model();
                let (members, took) = with_tenant(&model, &tenant, |tenant| {
                    let condition = members.condition(tenant)?;
                    Ok::<_, Status>(evaluate("count", &condition, tenant, model.as_of()))
                })?;
                Ok(v1::CountSegmentResponse {
                    count: members.len(),
                    eval_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    token: Some(shared.token(&model)),
                    as_of_ms: model.as_of().0,
                })
            })
            .await
        })
        .await
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        answer("ListMembers", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let tenant = names::tenant("parent", &request.parent)?;
            let list = List {
                tenant,
                members: Members::of_list(request.of)?,
                page_size: request.page_size,
                page_token: request.page_token,
            };
            self.shared.fresh(request.read, deadline).await?;
            let (contacts, next_page_token, token) = self.read(move |shared| list.page(shared)).await?;
            Ok(v1::ListMembersResponse { contacts, next_page_token, token: Some(token) })
        })
        .await
    }

    async fn list_segments(
        &self,
        request: Request<v1::ListSegmentsRequest>,
    ) -> Result<Response<v1::ListSegmentsResponse>, Status> {
        answer("ListSegments", async {
            let name = names::tenant("parent", &request.get_ref().parent)?;
            self.read(move |shared| Ok(v1::ListSegmentsResponse { segments: segments(&shared.model(), &name) })).await
        })
        .await
    }

    async fn analyze_filter(
        &self,
        request: Request<v1::AnalyzeFilterRequest>,
    ) -> Result<Response<v1::AnalyzeFilterResponse>, Status> {
        answer("AnalyzeFilter", async {
            let request = request.into_inner();
            let tenant = names::tenant("parent", &request.parent)?;
            let bundle = self.shared.model().tenant(&tenant).and_then(|tenant| tenant.bundle().cloned());
            let parsed = match bundle {
                Some(bundle) => touchline_playbook::condition::parse(&request.filter, &bundle),
                None => touchline_playbook::condition::parse(&request.filter, &crate::server::no_bundle()),
            };
            Ok(match parsed {
                Ok(condition) => v1::AnalyzeFilterResponse { normalized: condition.write(), diagnostics: Vec::new() },
                Err(wrong) => v1::AnalyzeFilterResponse {
                    normalized: String::new(),
                    diagnostics: vec![diagnostic_to(&wrong, String::new())],
                },
            })
        })
        .await
    }
}

/// Whom a request is about.
pub(crate) enum Members {
    /// Those for whom a condition holds.
    Filter(String),
    /// Those in a declared segment.
    Segment(String),
}

impl Members {
    fn of_count(of: Option<v1::count_segment_request::Of>) -> Result<Self, Status> {
        use v1::count_segment_request::Of;
        match of {
            Some(Of::Filter(filter)) => Ok(Self::Filter(filter)),
            Some(Of::Segment(segment)) => Ok(Self::Segment(segment)),
            None => Err(neither()),
        }
    }

    fn of_list(of: Option<v1::list_members_request::Of>) -> Result<Self, Status> {
        use v1::list_members_request::Of;
        match of {
            Some(Of::Filter(filter)) => Ok(Self::Filter(filter)),
            Some(Of::Segment(segment)) => Ok(Self::Segment(segment)),
            None => Err(neither()),
        }
    }

    fn condition(&self, tenant: &Tenant) -> Result<Condition, Status> {
        match self {
            Self::Filter(filter) => filter_condition(tenant, "filter", filter),
            Self::Segment(id) => {
                let declared = tenant.bundle().and_then(|bundle| bundle.segments.get(id).cloned());
                declared.ok_or_else(|| {
                    let message = format!("no segment {id} in the active playbooks\nhint: see ListSegments");
                    error::status(Code::NotFound, "NO_SEGMENT", message)
                })
            }
        }
    }
}

fn neither() -> Status {
    error::invalid("of", "name a filter or a segment")
}

/// One page of contacts, asked for.
pub(crate) struct List {
    pub(crate) tenant: String,
    pub(crate) members: Members,
    pub(crate) page_size: u32,
    pub(crate) page_token: String,
}

impl List {
    /// The contacts, the token of the next page, and what the answer reflects.
    pub(crate) fn page(&self, shared: &Shared) -> Result<(Vec<v1::Contact>, String, v1::ConsistencyToken), Status> {
        let question = match &self.members {
            Members::Filter(filter) => Question::new(&["contacts", &self.tenant, "filter", filter]),
            Members::Segment(segment) => Question::new(&["contacts", &self.tenant, "segment", segment]),
        };
        let after = question.last(&self.page_token)?;
        let after = after.map(|id| ContactId::parse(&id).ok_or_else(|| error::invalid("page_token", "is damaged")));
        let after = after.transpose()?;
        let size = page::size(self.page_size);
        let model = shared.model();
        let mut entries = with_tenant(&model, &self.tenant, |tenant| {
            let (members, _) = evaluate("list", &self.members.condition(tenant)?, tenant, model.as_of());
            // One more than asked for tells whether there is a next page.
            let entries = sets::page(tenant, &members, after.as_ref(), size + 1);
            Ok::<_, Status>(entries.into_iter().map(|entry| tenant.shown(&entry.contact)).collect::<Vec<_>>())
        })?;
        let token = shared.token(&model);
        drop(model);
        let mut is_more = entries.len() > size;
        entries.truncate(size);
        let (mut contacts, mut bytes) = (Vec::with_capacity(entries.len()), 0);
        for contact in entries {
            bytes += contact.encoded_len();
            if bytes > page::BYTES_MAX && !contacts.is_empty() {
                is_more = true;
                break;
            }
            contacts.push(contact);
        }
        let next = contacts.last().filter(|_| is_more).map(|last| question.token(&last.contact_id));
        Ok((contacts, next.unwrap_or_default(), token))
    }
}

fn segments(model: &ReadModel, name: &str) -> Vec<v1::Segment> {
    let Some(tenant) = model.tenant(name) else { return Vec::new() };
    let Some(bundle) = tenant.bundle() else { return Vec::new() };
    let at = model.as_of();
    let segment = |(id, condition): (&String, &Condition)| v1::Segment {
        name: names::child(name, "segments", id),
        id: id.clone(),
        playbook: String::new(),
        filter: condition.write(),
        count: evaluate("segments", condition, tenant, at).0.len(),
    };
    bundle.segments.iter().map(segment).collect()
}

/// A finding as a message.
pub(crate) fn diagnostic_to(diagnostic: &Diagnostic, playbook: String) -> v1::Diagnostic {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    v1::Diagnostic {
        severity: severity.to_owned(),
        code: diagnostic.code.to_owned(),
        message: diagnostic.message.clone(),
        hint: diagnostic.hint.clone().unwrap_or_default(),
        line: diagnostic.line,
        column: diagnostic.column,
        playbook,
    }
}
