use super::check;
use serde_json::{Value, json};

fn wrong(schema: &Value, config: Value) -> Vec<String> {
    let Value::Object(config) = config else { panic!("a table is wanted") };
    check(schema, "exporters.x.config", &config)
}

fn sentence(schema: &Value, config: Value) -> String {
    let wrong = wrong(schema, config);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    wrong[0].clone()
}

/// With what `schemars` writes for text, an option, numbers, an enum, a list and a nested structure.
fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["path"],
        "properties": {
            "path": { "type": "string", "minLength": 1 },
            "keep": { "type": ["integer", "null"], "format": "uint32", "minimum": 1 },
            "share": { "type": "number", "minimum": 0, "maximum": 1 },
            "port": { "type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535 },
            "format": { "$ref": "#/$defs/Format" },
            "formats": { "type": "array", "items": { "$ref": "#/$defs/Format" }, "uniqueItems": true },
            "fallback": { "anyOf": [{ "$ref": "#/$defs/Format" }, { "type": "null" }] },
            "limit": { "$ref": "#/$defs/Limit" },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } }
        },
        "$defs": {
            "Format": { "oneOf": [{ "type": "string", "const": "pprof" }, { "type": "string", "enum": ["svg"] }] },
            "Limit": {
                "type": "object",
                "required": ["bytes"],
                "properties": { "bytes": { "type": "integer", "exclusiveMinimum": 0 } }
            }
        }
    })
}

#[test]
fn what_the_schema_allows_is_right() {
    let all = json!({
        "path": "/a", "keep": 3, "share": 0.5, "port": 80, "format": "svg", "formats": ["svg", "pprof"],
        "fallback": "pprof", "limit": { "bytes": 1, "free": true }, "headers": { "a-b": "c" }
    });
    assert_eq!(wrong(&schema(), all), Vec::<String>::new());
    assert_eq!(wrong(&schema(), json!({ "path": "/a" })), Vec::<String>::new());
}

#[test]
fn each_mistake_is_a_sentence_with_the_key_and_what_is_allowed() {
    let of = |change: Value| {
        let mut config = json!({ "path": "/a" });
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        sentence(&schema(), config)
    };
    let key = |rest: &str| format!("`exporters.x.config.{rest}");
    assert_eq!(of(json!({ "path": 7 })), key("path` is 7; allowed: text of at least 1 characters"));
    assert_eq!(of(json!({ "path": "" })), key("path` is \"\"; allowed: text of at least 1 characters"));
    assert_eq!(of(json!({ "keep": 0 })), key("keep` is 0; allowed: a whole number from 1 to 4294967295"));
    assert_eq!(of(json!({ "keep": 1.5 })), key("keep` is 1.5; allowed: a whole number from 1 to 4294967295"));
    assert_eq!(of(json!({ "share": 2 })), key("share` is 2; allowed: a number from 0 to 1"));
    assert_eq!(of(json!({ "port": 65536 })), key("port` is 65536; allowed: a whole number from 0 to 65535"));
    assert_eq!(of(json!({ "format": "pdf" })), key("format` is \"pdf\"; allowed: one of \"pprof\", \"svg\""));
    assert_eq!(
        of(json!({ "formats": ["svg", 3] })),
        key("formats[1]` is 3; allowed: one of \"pprof\", \"svg\"")
    );
    assert_eq!(
        of(json!({ "formats": ["svg", "svg"] })),
        key("formats` has \"svg\" twice; allowed: each once")
    );
    assert_eq!(
        of(json!({ "limit": {} })),
        key("limit.bytes` is not set; allowed: a whole number, more than 0")
    );
    assert_eq!(
        of(json!({ "limit": { "bytes": 0 } })),
        key("limit.bytes` is 0; allowed: a whole number, more than 0")
    );
    assert_eq!(of(json!({ "headers": { "a": 1 } })), key("headers.a` is 1; allowed: text"));
}

#[test]
fn a_key_that_is_missing_or_unknown_is_named() {
    let missing = "`exporters.x.config.path` is not set; allowed: text of at least 1 characters";
    assert_eq!(sentence(&schema(), json!({})), missing);
    assert_eq!(
        sentence(&schema(), json!({ "path": "/a", "formts": [] })),
        "unknown key `exporters.x.config.formts`; did you mean `formats`?"
    );
    let unlike = sentence(&schema(), json!({ "path": "/a", "qqqqqq": 1 }));
    assert!(unlike.contains("; the keys are fallback, format, formats, headers,"), "{unlike}");
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let schema = json!({ "$ref": "#/$defs/A", "$defs": { "A": { "anyOf": [{ "$ref": "#/$defs/A" }, { "$ref": "#/$defs/A" }] } } });
    wrong(&schema, json!({ "path": 1 }));
}

#[test]
fn what_is_no_schema_allows_everything() {
    for schema in
        [json!(null), json!(true), json!(7), json!({ "type": 3, "properties": [] }), json!({ "$ref": "x" })]
    {
        assert_eq!(wrong(&schema, json!({ "path": 1 })), Vec::<String>::new(), "{schema}");
    }
    assert_eq!(wrong(&json!(false), json!({})).len(), 1);
}
