//! A running server with a virtual clock, through its public doors: events, commands, reads and streams over gRPC.

use super::Heard;
use crate::client::{Server, full, patiently};
use anyhow::{Context, bail};
use prost::Message;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;
use touchline_model::command::{Command, CommandBody, TagRef};
use touchline_model::event::Event;
use touchline_model::id::{CellKey, IdKey};
use touchline_model::output::{Contact, Numbered, Stream};
use touchline_model::time::Time;
use touchline_playbook::metrics::{Metric, Row};
use touchline_proto::v1::admin_service_client::AdminServiceClient;
use touchline_proto::v1::board_service_client::BoardServiceClient;
use touchline_proto::v1::contact_service_client::ContactServiceClient;
use touchline_proto::v1::ingest_service_client::IngestServiceClient;
use touchline_proto::v1::metric_service_client::MetricServiceClient;
use touchline_proto::v1::playbook_service_client::PlaybookServiceClient;
use touchline_proto::v1::touch_service_client::TouchServiceClient;
use touchline_proto::{ContactRecord, decode_contact_record, decode_output, event_to, migrations_to, v1};
use touchline_scenario::{Broken, Refusal, World};

/// A stream that shows nothing for so long will not show what is waited for.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// A server, and where its clock stands as far as it was moved from here.
pub(crate) struct Live {
    runtime: Rc<Runtime>,
    channel: Channel,
    ingest: Channel,
    partitions: u32,
    now: Time,
    touches: Streaming<v1::Touch>,
    tag_changes: Streaming<v1::TagChange>,
    heard: Heard,
}

impl Live {
    /// Connects; events go to `ingest` where another process takes them. The clock must be a virtual one that does not
    /// stand behind `start`: it is moved there.
    pub(crate) fn connect(server: &Server, ingest: Option<&str>, start: Time) -> anyhow::Result<Self> {
        let runtime = Rc::new(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
        let channel = runtime.block_on(server.connect())?;
        let ingest = match ingest {
            Some(address) => runtime.block_on(server.at(address).connect())?,
            None => channel.clone(),
        };
        let (partitions, touches, tag_changes) = runtime.block_on(open(channel.clone()))?;
        let now = Time::EARLIEST;
        let mut live =
            Self { runtime, channel, ingest, partitions, now, touches, tag_changes, heard: Heard::default() };
        live.advance(start).map_err(|broken| {
            anyhow::anyhow!(
                "{broken}\nhint: start the server with --clock manual --clock-start {start} on a new directory"
            )
        })?;
        Ok(live)
    }

    /// Of its log.
    pub(crate) const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Where its clock stands.
    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    /// Reads both streams up to what the partitions have published.
    async fn hear(&mut self) -> anyhow::Result<()> {
        let status = AdminServiceClient::new(self.channel.clone()).get_status(v1::GetStatusRequest {}).await?;
        let published = status.into_inner().partitions;
        let wanted = |stream: Stream| -> HashMap<u32, u64> {
            let of = |partition: &v1::PartitionStatus| {
                let sequences = partition.progress.as_ref().map(|progress| progress.sequences.as_slice());
                (partition.partition, sequences.and_then(|all| all.get(stream.index())).copied().unwrap_or_default())
            };
            published.iter().map(of).collect()
        };
        let news = catch_up(&mut self.touches, &self.heard, Stream::Touches, wanted(Stream::Touches)).await?;
        self.heard.add(news);
        let wanted = wanted(Stream::TagChanges);
        let news = catch_up(&mut self.tag_changes, &self.heard, Stream::TagChanges, wanted).await?;
        self.heard.add(news);
        Ok(())
    }
}

async fn open(channel: Channel) -> anyhow::Result<(u32, Streaming<v1::Touch>, Streaming<v1::TagChange>)> {
    let status = AdminServiceClient::new(channel.clone()).get_status(v1::GetStatusRequest {}).await?.into_inner();
    if status.clock_mode != "manual" {
        bail!("the server's clock is the machine's\nhint: start one with --clock manual on a new directory");
    }
    let partitions = u32::try_from(status.partitions.len()).context("a number of partitions")?;
    let mut client = TouchServiceClient::new(channel);
    // Of every tenant, so that the last number of each partition is seen.
    let (positions, tenant) = (HashMap::new(), String::new());
    let touches =
        client.subscribe(v1::SubscribeRequest { positions: positions.clone(), tenant: tenant.clone() }).await?;
    let changes = client.subscribe_tag_changes(v1::SubscribeTagChangesRequest { positions, tenant }).await?;
    Ok((partitions, touches.into_inner(), changes.into_inner()))
}

async fn catch_up<M: Message>(
    messages: &mut Streaming<M>,
    heard: &Heard,
    stream: Stream,
    mut wanted: HashMap<u32, u64>,
) -> anyhow::Result<Vec<Numbered>> {
    wanted.retain(|partition, last| *last > heard.last.get(&(*partition, stream)).copied().unwrap_or_default());
    let mut news = Vec::new();
    while !wanted.is_empty() {
        let next = tokio::time::timeout(HEARD_WITHIN, messages.message()).await;
        let message = next.with_context(|| format!("{stream:?} published before are not heard"))??;
        let message = message.with_context(|| format!("the stream of {stream:?} has ended"))?;
        let (numbered, _) = decode_output(stream, &message.encode_to_vec())?;
        let partition = numbered.source.partition;
        if wanted.get(&partition).is_some_and(|last| numbered.sequence >= *last) {
            wanted.remove(&partition);
        }
        news.push(numbered);
    }
    Ok(news)
}

/// The name of a contact as requests take it.
fn name(tenant: &str, cell: &CellKey) -> String {
    format!("tenants/{tenant}/contacts/{}", cell.contact_id())
}

async fn carry_out(channel: Channel, command: Command) -> Result<(), Status> {
    let Command { request_id, tenant, actor, body, .. } = command;
    let tags = |tags: Vec<TagRef>| tags.into_iter().map(|TagRef { group, tag }| v1::TagRef { group, tag }).collect();
    let parent = format!("tenants/{tenant}");
    match body {
        CommandBody::Activate { sources, remove, expected_active, migrations } => {
            let sources = sources.into_iter().map(|source| source.yaml).collect();
            let migrations = migrations_to(&migrations);
            let request =
                v1::ActivatePlaybookRequest { parent, sources, remove, expected_active, request_id, actor, migrations };
            PlaybookServiceClient::new(channel).activate_playbook(patiently(request)).await.map(drop)
        }
        CommandBody::SetDirectory { yaml } => {
            let request = v1::SetDirectoryRequest { parent, yaml, request_id, actor };
            PlaybookServiceClient::new(channel).set_directory(patiently(request)).await.map(drop)
        }
        CommandBody::MoveCard { contact, board, expected_stage, to, reason } => {
            let contact = name(&tenant, &contact);
            let request =
                v1::MoveCardRequest { contact, board, expected_stage, to_stage: to, reason, request_id, actor };
            BoardServiceClient::new(channel).move_card(patiently(request)).await.map(drop)
        }
        CommandBody::EditTags { contact, add, remove, reason } => {
            let (name, add, remove) = (name(&tenant, &contact), tags(add), tags(remove));
            let request = v1::EditTagsRequest { name, add, remove, reason, request_id, actor };
            ContactServiceClient::new(channel).edit_tags(patiently(request)).await.map(drop)
        }
        other => Err(Status::unimplemented(format!("scenarios do not give the command {}", other.name()))),
    }
}

/// The word by which a server refuses a command; `None`: it was not refused but failed.
fn refused(status: &Status) -> Option<Refusal> {
    let is_refusal = matches!(
        status.code(),
        Code::Aborted | Code::NotFound | Code::AlreadyExists | Code::InvalidArgument | Code::FailedPrecondition
    );
    let code = status.get_error_details().error_info()?.reason.to_ascii_lowercase();
    is_refusal.then(|| (code, status.message().to_owned()))
}

fn broken(status: &Status) -> Broken {
    format!("{:?}: {}", status.code(), status.message())
}

impl World for Live {
    fn advance(&mut self, to: Time) -> Result<(), Broken> {
        if to <= self.now {
            return Ok(());
        }
        let mut client = AdminServiceClient::new(self.channel.clone());
        let request = v1::AdvanceClockRequest { to_ms: to.0 };
        self.runtime.block_on(client.advance_clock(request)).map_err(|status| broken(&status))?;
        self.now = to;
        Ok(())
    }

    /// Moving the clock to where it stands waits until everything is at rest and readable.
    fn settle(&mut self) -> Result<(), Broken> {
        let mut client = AdminServiceClient::new(self.channel.clone());
        let request = v1::AdvanceClockRequest { to_ms: self.now.0 };
        self.runtime.block_on(client.advance_clock(request)).map(drop).map_err(|status| broken(&status))
    }

    fn event(&mut self, event: Event) -> Result<(), Broken> {
        let wire = v1::Event { event_id: Vec::new(), ..event_to(&event) };
        let mut client = IngestServiceClient::new(self.ingest.clone());
        let request = v1::PublishEventsRequest { events: vec![wire] };
        let answer = self.runtime.block_on(client.publish_events(request)).map_err(|status| broken(&status))?;
        match answer.into_inner().results.as_slice() {
            [result] if result.status == "accepted" => Ok(()),
            results => Err(format!("an event {} was not accepted: {results:?}", event.name())),
        }
    }

    fn command(&mut self, command: Command) -> Result<Result<(), Refusal>, Broken> {
        match self.runtime.block_on(carry_out(self.channel.clone(), command)) {
            Ok(()) => Ok(Ok(())),
            Err(status) => refused(&status).map(Err).ok_or_else(|| broken(&status)),
        }
    }

    fn active(&mut self, tenant: &str) -> Result<u64, Broken> {
        let request = v1::ListPlaybooksRequest { parent: format!("tenants/{tenant}"), read: full() };
        let mut client = PlaybookServiceClient::new(self.channel.clone());
        let listed =
            self.runtime.block_on(client.list_playbooks(patiently(request))).map_err(|status| broken(&status))?;
        Ok(listed.into_inner().bundle)
    }

    fn contact(&mut self, mut cells: Vec<CellKey>) -> Result<(Option<Contact>, Vec<CellKey>), Broken> {
        let mut client = ContactServiceClient::new(self.channel.clone());
        for cell in &cells {
            let IdKey { kind, scope, value } = cell.id();
            let id = Some(v1::IdKey { kind: kind.name().to_owned(), scope, value });
            let by = v1::get_contact_request::By::Identifier(v1::TenantIdentifier { tenant: cell.tenant(), id });
            let request = v1::GetContactRequest { by: Some(by), read: full() };
            let wire = match self.runtime.block_on(client.get_contact(patiently(request))) {
                Ok(answer) => answer.into_inner().contact.unwrap_or_default(),
                Err(status) if status.code() == Code::NotFound => continue,
                Err(status) => return Err(broken(&status)),
            };
            let record = v1::ContactRecord { record: Some(v1::contact_record::Record::Contact(wire)) };
            let Ok(ContactRecord::Contact(contact)) = decode_contact_record(&record.encode_to_vec()) else {
                return Err("a contact cannot be read".to_owned());
            };
            cells.push(contact.key.clone());
            return Ok((Some(*contact), cells));
        }
        Ok((None, cells))
    }

    fn numbers(&mut self, tenant: &str, metric: &Metric) -> Result<Vec<Row>, Broken> {
        let name = format!("tenants/{tenant}/metrics/{}", metric.id);
        let request = v1::GetMetricRequest { name, read: full(), ..Default::default() };
        let mut client = MetricServiceClient::new(self.channel.clone());
        let answer = self.runtime.block_on(client.get_metric(patiently(request))).map_err(|status| broken(&status))?;
        let row = |v1::MetricRow { executor, period, count, met }| Row { executor, period, count, is_met: met };
        Ok(answer.into_inner().rows.into_iter().map(row).collect())
    }

    fn said(&mut self) -> Result<&[Numbered], Broken> {
        let runtime = Rc::clone(&self.runtime);
        runtime.block_on(self.hear()).map_err(|error| format!("{error:#}"))?;
        Ok(&self.heard.said)
    }
}
