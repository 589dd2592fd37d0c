use super::*;
use serde_json::{Value, json};

fn config(value: Value) -> Config {
    serde_json::from_value(value).unwrap()
}

/// With these variables set.
fn destination(value: Value, variables: &[(&str, &str)]) -> Result<Destination, ConfigError> {
    let look =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    config(value).destination(&look)
}

fn uri(value: Value, variables: &[(&str, &str)]) -> String {
    destination(value, variables).unwrap().uri.to_string()
}

#[test]
fn without_keys_and_variables_it_is_grpc_to_this_machine() {
    let found = destination(json!({}), &[]).unwrap();
    assert_eq!((found.protocol, found.compression), (Protocol::Grpc, Compression::Gzip));
    assert_eq!(
        (found.uri.to_string().as_str(), found.timeout),
        ("http://localhost:4317/", Duration::from_secs(10))
    );
}

#[test]
fn over_http_the_signals_path_is_appended_to_an_endpoint_but_not_to_the_variable_for_profiles() {
    let http = json!({ "protocol": "http/protobuf" });
    assert_eq!(uri(http.clone(), &[]), "http://localhost:4318/v1development/profiles");
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:1/otlp/");
    assert_eq!(uri(http.clone(), &[all]), "https://c:1/otlp/v1development/profiles");
    let profiles = ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", "https://p:1/take");
    assert_eq!(uri(http.clone(), &[all, profiles]), "https://p:1/take");
    let key = json!({ "protocol": "http/protobuf", "endpoint": "http://k:2/v1development/profiles" });
    assert_eq!(uri(key, &[all, profiles]), "http://k:2/v1development/profiles");
}

#[test]
fn keys_win_over_variables_and_variables_for_profiles_over_those_for_all() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
        ("OTEL_EXPORTER_OTLP_PROFILES_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x = 1"),
        ("OTEL_EXPORTER_OTLP_PROFILES_HEADERS", "x=2"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
    ];
    let found = destination(json!({ "compression": "zstd" }), &variables).unwrap();
    assert_eq!((found.protocol, found.compression), (Protocol::HttpProtobuf, Compression::Zstd));
    assert_eq!((found.timeout, found.tls.ca_file), (Duration::from_secs(3), Some("/ca.pem".into())));
    let value = |name: &str| found.headers[name].value.clone().unwrap();
    assert_eq!((value("api-key"), value("x")), ("a b".into(), "2".into()));
}

#[test]
fn without_a_scheme_the_variable_insecure_chooses_it() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317");
    assert_eq!(uri(json!({}), &[endpoint]), "https://c:4317/");
    assert_eq!(uri(json!({}), &[endpoint, ("OTEL_EXPORTER_OTLP_INSECURE", "true")]), "http://c:4317/");
}

#[test]
fn refuses_with_the_key_or_variable_and_what_is_allowed() {
    let refusal = |value, variables: &[_]| destination(value, variables).unwrap_err().to_string();
    let text = refusal(json!({ "endpoint": "collector:4317" }), &[]);
    assert!(
        text.starts_with("`endpoint`: `collector:4317` is not an endpoint; write it as `http://"),
        "{text}"
    );
    let text = refusal(json!({ "endpoint": "http://c:1/path" }), &[]);
    assert!(text.contains("`http://c:1/path` is not an endpoint"), "{text}");
    let text = refusal(json!({}), &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
    assert_eq!(text, "OTEL_EXPORTER_OTLP_PROTOCOL is `http/json`; allowed: grpc, http/protobuf");
    let text = refusal(json!({}), &[("OTEL_EXPORTER_OTLP_HEADERS", "my secret token")]);
    assert!(text.contains("OTEL_EXPORTER_OTLP_HEADERS") && !text.contains("secret"), "{text}");
    let text = refusal(json!({ "headers": { "a": { "file": "/x", "env": "Y" } } }), &[]);
    assert_eq!(text, "`headers.a` needs exactly one of `value`, `file` and `env`");
    let text = refusal(json!({ "headers": { "te": { "value": "x" } } }), &[]);
    assert!(text.contains("`te` cannot be a header here"), "{text}");
    let text = refusal(json!({ "tls": { "ca_file": "/ca.pem" } }), &[]);
    assert!(text.contains("uses no TLS; begin it with https://"), "{text}");
    let text = refusal(json!({ "endpoint": "https://c", "tls": { "key_file": "/k" } }), &[]);
    assert!(text.contains("belong together"), "{text}");
    let text = refusal(json!({ "max_message_bytes": 1000 }), &[]);
    assert_eq!(text, "`max_message_bytes` is 1000; allowed: 65536 to 1073741824");
}

#[test]
fn a_headers_value_is_read_when_it_is_needed_and_never_shown() {
    let file = std::env::temp_dir().join(format!("stacksonde-header-{}", std::process::id()));
    std::fs::write(&file, "one\n").unwrap();
    let keys = json!({ "headers": { "Authorization": { "file": file, "prefix": "Bearer " } } });
    let found = destination(keys, &[]).unwrap();
    assert_eq!(found.headers().unwrap()["authorization"], "Bearer one");
    std::fs::write(&file, "two\n").unwrap();
    let headers = found.headers().unwrap();
    assert_eq!(headers["authorization"], "Bearer two");
    assert!(!format!("{headers:?}").contains("two"), "{headers:?}");
    std::fs::write(&file, "bad\u{1}secret").unwrap();
    let text = found.headers().unwrap_err().to_string();
    assert!(text.contains("`authorization`") && !text.contains("secret"), "{text}");
    std::fs::remove_file(&file).unwrap();
    assert!(found.headers().unwrap_err().to_string().contains("cannot read"));
}

#[test]
fn the_manifest_carries_the_schema_of_these_keys() {
    let manifest: Value = serde_json::from_str(include_str!("../../plugin.json")).unwrap();
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let shown = serde_json::to_string_pretty(&schema).unwrap();
    assert_eq!(manifest["config_schema"], schema, "plugin.json needs this config_schema:\n{shown}");
}
