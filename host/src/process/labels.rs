//! Labels that a process states of itself in its environment, and those of its container by its cgroup, by the names of
//! OpenTelemetry's semantic conventions.

use super::living::by_living_task;
use super::proc_files::there;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

/// Keys and values, sorted by key.
pub type Labels = Vec<(String, String)>;

/// Bytes read of an environment; the kernel limits it to a few MiB.
const ENVIRONMENT_BYTES: u64 = 1 << 20;
/// Labels of one process. What more a process states is left out, and how much is a label, too.
const LABELS: usize = 64;
/// Bytes of a value; what is longer is left out in the same way.
const VALUE_BYTES: usize = 4096;
/// Bytes of all labels of one process; so is what is more.
const LABELS_BYTES: usize = 16 << 10;
/// Says how many labels were left out.
const LEFT_OUT: &str = "stacksonde.labels_left_out";

/// Reads the environment of a process; nothing of one that just ended. It is memory of the process, which may have
/// somebody else page it in.
pub(super) fn environment(pid: u32, tid: u32) -> io::Result<Vec<u8>> {
    let read = |task| {
        let mut environment = Vec::new();
        let file = File::open(format!("/proc/{task}/environ"))?;
        file.take(ENVIRONMENT_BYTES).read_to_end(&mut environment)?;
        Ok(Some(environment).filter(|environment| !environment.is_empty()))
    };
    Ok(there(by_living_task(pid, tid, read))?.flatten().unwrap_or_default())
}

/// From the content of `/proc/<pid>/environ` and the path of a cgroup.
pub(crate) fn labels(environment: &[u8], cgroup: &str) -> Labels {
    let variable = |name: &str| {
        let mut variables = environment.split(|byte| *byte == 0);
        let value =
            variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(value).trim().to_owned()).filter(|value| !value.is_empty())
    };
    let mut labels = BTreeMap::new();
    if let Some(id) = container_id(cgroup) {
        labels.insert("container.id".to_owned(), id.to_owned());
    }
    if let Some(id) = pod_uid(cgroup) {
        labels.insert("k8s.pod.uid".to_owned(), id);
    }
    // opentelemetry.io, "Resource SDK": key=value pairs, separated by commas, percent-encoded.
    for pair in variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default().split(',') {
        let Some((key, value)) = pair.split_once('=') else { continue };
        let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
        let (key, value) = (decoded(key), decoded(value));
        if !key.is_empty() {
            labels.insert(key, value);
        }
    }
    // "OTEL_SERVICE_NAME takes precedence" over the same in the list.
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        labels.insert("service.name".into(), name);
    }
    let stated = labels.len();
    labels.retain(|key, value| key.len().max(value.len()) <= VALUE_BYTES);
    let mut bytes = 0;
    let fits = |(key, value): &(String, String)| {
        let with = bytes + key.len() + value.len();
        let fits = with <= LABELS_BYTES;
        bytes = if fits { with } else { bytes };
        fits
    };
    let mut labels: Labels = labels.into_iter().filter(fits).take(LABELS).collect();
    if labels.len() < stated {
        labels.push((LEFT_OUT.into(), (stated - labels.len()).to_string()));
    }
    labels
}

/// The id of the container that a cgroup is of: 64 hexadecimal digits, which Docker, containerd, CRI-O and Podman
/// put last into the path, some with a prefix (`docker-`, `cri-containerd-`, `crio-`, `libpod-`) and `.scope`; or
/// AWS's ids, 32 digits, a hyphen and a number. The innermost one counts.
pub(super) fn container_id(cgroup: &str) -> Option<&str> {
    cgroup.rsplit('/').find_map(|part| {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        // `cri-containerd-<id>`, and the slices of nested runtimes: `kubepods-pod<uid>.slice:cri-containerd:<id>`.
        let last = name.rsplit([':', '-']).next().unwrap_or(name);
        if is_hex(last, 64) {
            return Some(last);
        }
        let (head, tail) = name.rsplit_once('-')?;
        let is_aws = is_hex(head, 32) && !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
        is_aws.then_some(name)
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The id of the pod of Kubernetes that a cgroup lies in: `pod<uid>`, where systemd wants underscores for hyphens.
pub(super) fn pod_uid(cgroup: &str) -> Option<String> {
    cgroup.split('/').find_map(|part| {
        // `kubepods-pod<uid>.slice:cri-containerd:<id>` where containerd takes cgroupfs's names for systemd's.
        let part = part.split(':').next().unwrap_or(part);
        let name = part.strip_suffix(".slice").unwrap_or(part);
        let (_, uid) =
            name.rsplit_once("pod").filter(|(before, _)| before.is_empty() || before.ends_with('-'))?;
        let uid = uid.replace('_', "-");
        let lengths: Vec<usize> = uid.split('-').map(str::len).collect();
        let digits = uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        (digits && (lengths == [8, 4, 4, 4, 12] || lengths == [32])).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4b3f1c8a9d2e7f60514233aabbccddeeff00112233445566778899aabbccddee";

    #[test]
    fn finds_the_container_in_the_paths_of_the_usual_runtimes() {
        let pod = "0a1b2c3d-1111-2222-3333-444455556666";
        let underscored = pod.replace('-', "_");
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/system.slice/docker-{ID}.scope/init.scope"),
            format!("/kubepods/burstable/pod{pod}/{ID}"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{underscored}.slice/crio-{ID}.scope/container"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!(
                "/system.slice/containerd.service/kubepods-burstable-pod{underscored}.slice:cri-containerd:{ID}"
            ),
        ] {
            assert_eq!(container_id(&path), Some(ID), "{path}");
            let in_pod = path.contains("kubepods").then(|| pod.to_owned());
            assert_eq!(pod_uid(&path), in_pod, "{path}");
        }
        let aws = "0123456789abcdef0123456789abcdef-1234567890";
        assert_eq!(container_id(&format!("/ecs/0123/{aws}")), Some(aws));
        let outer = "a".repeat(64);
        assert_eq!(container_id(&format!("/docker/{outer}/docker/{ID}")), Some(ID), "the innermost");
    }

    #[test]
    fn finds_no_container_where_there_is_none() {
        for path in
            ["", "/", "/user.slice/user-0.slice/session-1.scope", "/system.slice/docker-abc.scope", "/podman"]
        {
            assert_eq!((container_id(path), pod_uid(path)), (None, None), "{path}");
        }
        assert_eq!(container_id(&format!("/docker/{}", ID.to_uppercase())), None);
    }

    #[test]
    fn a_process_states_its_service_and_more_in_its_environment() {
        let environment = b"HOME=/\0OTEL_RESOURCE_ATTRIBUTES=service.name=no, team=blue%20team,x,=y,empty=\0OTEL_SERVICE_NAME=shop\0";
        let expected = [("empty", ""), ("service.name", "shop"), ("team", "blue team")];
        assert_eq!(labels(environment, "/"), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(labels(b"XOTEL_SERVICE_NAME=a\0OTEL_SERVICE_NAME=\0", "/"), []);
    }

    #[test]
    fn labels_are_bounded_and_what_is_left_out_is_said() {
        let list: Vec<String> = (0..100).map(|number| format!("key{number:03}=v")).collect();
        let environment = format!("OTEL_RESOURCE_ATTRIBUTES={},long={}", list.join(","), "x".repeat(5000));
        let labels = labels(environment.as_bytes(), "/");
        assert_eq!(labels.len(), LABELS + 1);
        assert_eq!(labels.last(), Some(&(LEFT_OUT.to_owned(), "37".to_owned())));
    }
}
