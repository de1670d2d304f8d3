//! Contacts: who they are, what they carry and why; tags by hand.

use super::segment::{List, Members};
use super::{explain, links, timeline};
use crate::commands::{self, Asked};
use crate::error;
use crate::model::{Entry, ReadModel, Tenant};
use crate::names;
use crate::server::{Server, answer, contact};
use crate::shared::Shared;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use touchline_model::command::{CommandBody, TagRef};
use touchline_model::id::{CellKey, ContactId, IdKey, IdKind};
use touchline_model::time::Time;
use touchline_model::token;
use touchline_proto::{contact_to, v1};
use v1::contact_service_server::ContactService;
use v1::get_contact_request::By;

#[tonic::async_trait]
impl ContactService for Server {
    async fn get_contact(
        &self,
        request: Request<v1::GetContactRequest>,
    ) -> Result<Response<v1::GetContactResponse>, Status> {
        answer("GetContact", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let which = Which::of(request.by)?;
            self.shared.fresh(request.read, deadline).await?;
            let model = self.shared.model();
            let entry = match &which {
                Which::Id(tenant, id) => contact(&model, tenant, id)?,
                Which::Identifier(tenant, id) => {
                    let found = model.tenant(tenant).and_then(|of: &Tenant| of.by_identifier(tenant, id));
                    found.ok_or_else(|| {
                        error::status(Code::NotFound, "NO_CONTACT", "no contact is known by this identifier")
                    })?
                }
            };
            let (contact, token) = (shown(&model, which.tenant(), entry), self.shared.token(&model));
            Ok(v1::GetContactResponse { contact: Some(contact), token: Some(token) })
        })
        .await
    }

    async fn list_contacts(
        &self,
        request: Request<v1::ListContactsRequest>,
    ) -> Result<Response<v1::ListContactsResponse>, Status> {
        answer("ListContacts", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let list = List {
                tenant: names::tenant("parent", &request.parent)?,
                members: Members::Filter(request.filter),
                page_size: request.page_size,
                page_token: request.page_token,
            };
            self.shared.fresh(request.read, deadline).await?;
            let (contacts, next_page_token, token) = self.read(move |shared| list.page(shared)).await?;
            Ok(v1::ListContactsResponse { contacts, next_page_token, token: Some(token) })
        })
        .await
    }

    async fn list_timeline(
        &self,
        request: Request<v1::ListTimelineRequest>,
    ) -> Result<Response<v1::ListTimelineResponse>, Status> {
        answer("ListTimeline", async {
            let deadline = self.deadline(&request);
            let mut request = request.into_inner();
            self.shared.fresh(request.read.take(), deadline).await?;
            self.read(move |shared| timeline::page(shared, &request)).await
        })
        .await
    }

    async fn explain_tag(
        &self,
        request: Request<v1::ExplainTagRequest>,
    ) -> Result<Response<v1::ExplainTagResponse>, Status> {
        answer("ExplainTag", async {
            let deadline = self.deadline(&request);
            let mut request = request.into_inner();
            self.shared.fresh(request.read.take(), deadline).await?;
            self.read(move |shared| explain::tag(shared, &request)).await
        })
        .await
    }

    async fn edit_tags(&self, request: Request<v1::EditTagsRequest>) -> Result<Response<v1::EditTagsResponse>, Status> {
        answer("EditTags", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let (tenant, id) = names::contact("name", &request.name)?;
            let key = contact(&self.shared.model(), &tenant, &id)?.contact.key.clone();
            let (add, remove) = (tags("add", request.add)?, tags("remove", request.remove)?);
            if add.is_empty() && remove.is_empty() {
                return Err(error::invalid("add", "name a tag to add or to remove"));
            }
            let body = CommandBody::EditTags { contact: key, add, remove, reason: request.reason };
            let asked = Asked { tenant, request_id: request.request_id, actor: request.actor, body };
            let (contact, token) = changed(&self.shared, asked, id, deadline).await?;
            Ok(v1::EditTagsResponse { contact: Some(contact), token: Some(token) })
        })
        .await
    }

    async fn list_links(
        &self,
        request: Request<v1::ListLinksRequest>,
    ) -> Result<Response<v1::ListLinksResponse>, Status> {
        answer("ListLinks", async {
            let deadline = self.deadline(&request);
            let mut request = request.into_inner();
            self.shared.fresh(request.read.take(), deadline).await?;
            self.read(move |shared| links::list(shared, &request)).await
        })
        .await
    }

    async fn link_contact(
        &self,
        request: Request<v1::LinkContactRequest>,
    ) -> Result<Response<v1::LinkContactResponse>, Status> {
        answer("LinkContact", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let (tenant, id) = names::contact("name", &request.name)?;
            let contact = contact(&self.shared.model(), &tenant, &id)?.contact.key.clone();
            let identifier = person(request.identifier)?;
            let body = CommandBody::Link { contact, identifier, reason: request.reason };
            let asked = Asked { tenant, request_id: request.request_id, actor: request.actor, body };
            let (contact, token) = changed(&self.shared, asked, id, deadline).await?;
            Ok(v1::LinkContactResponse { contact: Some(contact), token: Some(token) })
        })
        .await
    }

    async fn unlink_contact(
        &self,
        request: Request<v1::UnlinkContactRequest>,
    ) -> Result<Response<v1::UnlinkContactResponse>, Status> {
        answer("UnlinkContact", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let (tenant, id) = names::contact("name", &request.name)?;
            let contact = contact(&self.shared.model(), &tenant, &id)?.contact.key.clone();
            let identifier = person(request.identifier)?;
            let body = CommandBody::Unlink { contact, identifier, reason: request.reason };
            let asked = Asked { tenant, request_id: request.request_id, actor: request.actor, body };
            let (contact, token) = changed(&self.shared, asked, id, deadline).await?;
            Ok(v1::UnlinkContactResponse { contact: Some(contact), token: Some(token) })
        })
        .await
    }

    async fn mint_token(
        &self,
        request: Request<v1::MintTokenRequest>,
    ) -> Result<Response<v1::MintTokenResponse>, Status> {
        answer("MintToken", async {
            let deadline = self.deadline(&request);
            let request = request.into_inner();
            let tenant = names::tenant("parent", &request.parent)?;
            let bearer = request.bearer.ok_or_else(|| error::invalid("bearer", "is missing"))?;
            let bearer = identifier("bearer", bearer)?;
            if !bearer.kind.is_contact() && bearer.kind != IdKind::Order {
                return Err(error::invalid("bearer", "is neither an identifier of a person nor an order"));
            }
            let expires_at = Time(request.expires_at_ms);
            if !expires_at.is_plausible() {
                return Err(error::invalid("expires_at_ms", "lies between the years 2000 and 2200"));
            }
            let token = new_token(&tenant);
            let state = token::state_of(&token);
            let body = CommandBody::MintToken { token, bearer, expires_at };
            let asked = Asked { tenant, request_id: String::new(), actor: request.actor, body };
            commands::carry_out(&self.shared, asked, deadline).await?;
            Ok(v1::MintTokenResponse { state })
        })
        .await
    }
}

/// 122 random bits in 26 letters and digits: nobody guesses one, and WeCom has room for it.
fn new_token(tenant: &str) -> CellKey {
    let random = IdKey::new(IdKind::Token, token::SCOPE, uuid::Uuid::new_v4().to_string());
    let value = CellKey::of(tenant, &random).contact_id().to_string();
    CellKey::of(tenant, &IdKey::new(IdKind::Token, token::SCOPE, value))
}

/// Carries a command about one contact out; the contact as it is then.
async fn changed(
    shared: &Arc<Shared>,
    asked: Asked,
    id: ContactId,
    deadline: Instant,
) -> Result<(v1::Contact, v1::ConsistencyToken), Status> {
    let tenant = asked.tenant.clone();
    let answer = commands::carry_out(shared, asked, deadline).await?;
    let model = shared.model();
    let id = answer.result.contact.as_ref().map_or(id, CellKey::contact_id);
    Ok((shown(&model, &tenant, contact(&model, &tenant, &id)?), shared.token(&model)))
}

/// An identifier of a person.
fn person(id: Option<v1::IdKey>) -> Result<IdKey, Status> {
    let id = identifier("identifier", id.ok_or_else(|| error::invalid("identifier", "is missing"))?)?;
    if id.kind.is_contact() { Ok(id) } else { Err(error::invalid("identifier", "is not one of a person")) }
}

fn shown(model: &ReadModel, tenant: &str, entry: &Entry) -> v1::Contact {
    model.tenant(tenant).map_or_else(|| contact_to(&entry.contact), |tenant| tenant.shown(&entry.contact))
}

/// How a contact is named.
enum Which {
    Id(String, ContactId),
    Identifier(String, IdKey),
}

impl Which {
    fn tenant(&self) -> &str {
        match self {
            Self::Id(tenant, _) | Self::Identifier(tenant, _) => tenant,
        }
    }

    fn of(by: Option<By>) -> Result<Self, Status> {
        match by {
            Some(By::Name(name)) => names::contact("name", &name).map(|(tenant, id)| Self::Id(tenant, id)),
            Some(By::Identifier(named)) => {
                let id = named.id.ok_or_else(|| error::invalid("identifier.id", "is missing"))?;
                Ok(Self::Identifier(named.tenant, identifier("identifier.id", id)?))
            }
            None => Err(error::invalid("by", "name a contact or an identifier")),
        }
    }
}

/// An identifier from outside.
pub(crate) fn identifier(field: &str, id: v1::IdKey) -> Result<IdKey, Status> {
    let kind = IdKind::parse(&id.kind).filter(|kind| kind.is_public()).ok_or_else(|| {
        let kinds: Vec<&str> = IdKind::ALL.iter().map(|kind| kind.name()).collect();
        error::invalid(field, format!("the kind is one of {}", kinds.join(", ")))
    })?;
    if id.value.is_empty() {
        return Err(error::invalid(field, "the value is empty"));
    }
    Ok(IdKey::new(kind, id.scope, id.value))
}

fn tags(field: &str, tags: Vec<v1::TagRef>) -> Result<Vec<TagRef>, Status> {
    if tags.iter().any(|tag| tag.group.is_empty() || tag.tag.is_empty()) {
        return Err(error::invalid(field, "a tag has a group and a tag"));
    }
    Ok(tags.into_iter().map(|tag| TagRef::new(tag.group, tag.tag)).collect())
}
