//! Attributes of a process, and of the host that it runs on (opentelemetry.io: semantic conventions for `host`, `os`,
//! `process`, `container`, `service`).

use crate::dictionary::Value;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::Process;
use std::collections::BTreeMap;

/// Attributes by key: what is set later wins, so each key is there once.
type Attributes = BTreeMap<String, Value>;

/// The prefix of our own attributes, which are stated once, of the host, not of every process.
const OURS: &str = "stacksonde.";

/// Returns the attributes that are the same for every process of a batch.
pub(crate) fn host(batch: &Batch<'_>) -> Attributes {
    let mut attributes = Attributes::new();
    let id = batch.header().host_id;
    if id != [0; 16] {
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        attributes.insert("host.id".into(), Value::Text(id));
    }
    for row in batch.attributes() {
        attributes.insert(batch.text(row.key).into(), Value::Text(batch.text(row.value).into()));
    }
    attributes.retain(|key, value| !key.is_empty() && *value != Value::Text(String::new()));
    attributes
}

/// The host itself, as the agent on it tells: with what it found and does without.
pub(crate) fn of_host(host: &Attributes) -> Resource {
    let mut attributes = host.clone();
    attributes.entry("service.name".into()).or_insert_with(|| Value::Text("stacksonde".into()));
    resource(attributes)
}

/// A process. `is_kernel`: one of the kernel's own threads.
pub(crate) fn of_process(
    host: &Attributes,
    batch: &Batch<'_>,
    process: &Process,
    is_kernel: bool,
) -> Resource {
    let mut attributes: Attributes = host
        .iter()
        .filter(|(key, _)| !key.starts_with(OURS))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let comm = batch.text(process.comm);
    let path = batch.text(process.executable);
    let name = match path.rsplit('/').next().filter(|name| !name.is_empty()) {
        Some(name) => name,
        None if is_kernel => "kernel",
        None => comm,
    };
    attributes.entry("service.name".into()).or_insert_with(|| Value::Text(name.into()));
    for (key, text) in [
        ("process.executable.name", name),
        ("process.executable.path", path),
        ("process.title", comm),
        ("process.linux.cgroup", batch.text(process.cgroup)),
    ] {
        if !text.is_empty() {
            attributes.insert(key.into(), Value::Text(text.into()));
        }
    }
    for (key, id) in [("process.pid", process.pid), ("process.parent_pid", process.parent_pid)] {
        if id != 0 {
            attributes.insert(key.into(), Value::Number(id.into()));
        }
    }
    // What the process says of itself wins over what is said of all.
    for label in batch.labels().range(process.labels_start, process.labels_count) {
        let (key, value) = (batch.text(label.key), batch.text(label.value));
        if !key.is_empty() {
            attributes.insert(key.into(), Value::Text(value.into()));
        }
    }
    resource(attributes)
}

fn resource(attributes: Attributes) -> Resource {
    let attribute =
        |(key, value): (String, Value)| KeyValue { key, value: value.any(), ..KeyValue::default() };
    Resource { attributes: attributes.into_iter().map(attribute).collect(), ..Resource::default() }
}
