//! What is counted: numbers of partitions added up, from `contacts` alone.

use crate::reading::full;
use crate::world::{NOON, PARTITIONS, PLAYBOOK, World};
use tonic::Code;
use touchline_log::{Log, NewRecord, Topic, wait};
use touchline_model::command::PlaybookSource;
use touchline_model::counted::{Counted, Slot};
use touchline_model::id::Position;
use touchline_playbook::compile::compile;
use touchline_proto as proto;
use touchline_proto::v1;
use v1::metric_service_client::MetricServiceClient;

/// A number of `metric` as a partition says it; `meaning` 0: that of the playbook in force.
fn counted(metric: &str, partition: u32, offset: u64, executor: Option<&str>, period: &str, count: u64) -> Counted {
    let source = PlaybookSource { id: "price".into(), yaml: PLAYBOOK.into() };
    let bundle = compile(&[source], 1).unwrap();
    let meaning = bundle.metrics.iter().find(|known| known.id == metric).unwrap().meaning();
    let (executor, period) = (executor.map(str::to_owned), period.to_owned());
    let slot = Slot { playbook: "price".into(), metric: metric.into(), meaning, executor, period };
    Counted { key: slot.cell("acme", partition), version: Position { partition, offset }, slot, count, at: NOON }
}

fn say(world: &World, counted: &Counted) {
    let value = proto::encode_counted(counted);
    let record = NewRecord { key: Some(proto::counted_key(counted).into_bytes()), value, ..NewRecord::default() };
    wait(world.log.append(Topic::Contacts, counted.version.partition, vec![record])).unwrap();
}

fn get(period: &str, executor: &str) -> v1::GetMetricRequest {
    v1::GetMetricRequest {
        name: "tenants/acme/metrics/人均咨询".into(),
        period: period.into(),
        executor: executor.into(),
        read: full(),
    }
}

fn rows(reply: &v1::GetMetricResponse) -> Vec<(&str, Option<&str>, u64, Option<bool>)> {
    reply.rows.iter().map(|row| (row.period.as_str(), row.executor.as_deref(), row.count, row.met)).collect()
}

#[tokio::test]
async fn numbers_of_all_partitions_add_up_per_person_and_month() {
    let world = World::new().await;
    world.activate();
    let mine =
        |partition, offset, executor, period, count| counted("人均咨询", partition, offset, executor, period, count);
    // Versions out of order, as a consumer may meet them; another meaning; another metric.
    say(&world, &mine(0, 5, Some("李"), "2026-12", 20));
    say(&world, &mine(0, 3, Some("李"), "2026-12", 19));
    say(&world, &mine(1, 2, Some("李"), "2026-12", 1));
    say(&world, &mine(1, 2, Some("安"), "2026-12", 20));
    say(&world, &mine(1, 2, None, "2026-12", 4));
    say(&world, &mine(0, 2, Some("李"), "2026-11", 30));
    let mut other = mine(0, 9, Some("李"), "2026-12", 500);
    other.slot.meaning ^= 1;
    other.key = other.slot.cell("acme", 0);
    say(&world, &other);
    say(&world, &counted("订单", 0, 2, None, "2026-12-01", 7));
    (0..PARTITIONS).for_each(|partition| world.publish(partition, vec![], vec![]));

    let mut client = MetricServiceClient::new(world.channel.clone());
    let reply = client.get_metric(get("", "")).await.unwrap().into_inner();
    let expected = [
        ("2026-11", Some("李"), 30, Some(true)),
        ("2026-12", None, 4, Some(false)),
        ("2026-12", Some("安"), 20, Some(false)),
        ("2026-12", Some("李"), 21, Some(true)),
    ];
    assert_eq!(rows(&reply), expected);
    assert_eq!((reply.as_of_ms, reply.token.as_ref().unwrap().bundle), (NOON.0, 1));
    let december = client.get_metric(get("2026-12", "")).await.unwrap().into_inner();
    assert_eq!(rows(&december), expected[1..]);
    let of_li = client.get_metric(get("2026-12", "李")).await.unwrap().into_inner();
    assert_eq!(rows(&of_li), expected[3..]);
    assert_eq!(rows(&client.get_metric(get("2027-01", "")).await.unwrap().into_inner()), []);

    let metric = reply.metric.unwrap();
    assert_eq!((metric.id.as_str(), metric.playbook.as_str()), ("人均咨询", "price"));
    assert_eq!((metric.count.as_str(), metric.target.as_str()), ("handoff.created(reason = \"咨询\")", "> 20"));
    assert_eq!(metric.per, ["executor", "calendar_month"]);
}

#[tokio::test]
async fn metrics_are_listed_and_unknown_ones_are_not_found() {
    let world = World::new().await;
    let mut client = MetricServiceClient::new(world.channel.clone());
    let list = || v1::ListMetricsRequest { parent: "tenants/acme".into() };
    assert!(client.list_metrics(list()).await.unwrap().into_inner().metrics.is_empty());
    world.activate();
    let request =
        v1::GetMetricRequest { name: "tenants/acme/metrics/订单".into(), read: full(), ..Default::default() };
    let reply = client.get_metric(request).await.unwrap().into_inner();
    assert!(reply.rows.is_empty() && reply.metric.unwrap().target.is_empty());
    let names: Vec<String> =
        client.list_metrics(list()).await.unwrap().into_inner().metrics.into_iter().map(|of| of.name).collect();
    assert_eq!(names, ["tenants/acme/metrics/人均咨询", "tenants/acme/metrics/订单"]);
    for (name, code) in [("tenants/acme/metrics/没有", Code::NotFound), ("metrics/订单", Code::InvalidArgument)] {
        let request = v1::GetMetricRequest { name: name.into(), ..Default::default() };
        assert_eq!(client.get_metric(request).await.unwrap_err().code(), code, "{name}");
    }
}
