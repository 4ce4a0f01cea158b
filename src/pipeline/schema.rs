//! The JSON Schema of pipeline files, with which editors complete and check them.
//!
//! It is made from the registry, so it has the layers of the program.

use std::num::NonZeroUsize;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use ziggurat_middleware::Peer;
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::units::Duration;

use super::file_tests::WrittenTest;
use super::read::{AllowEntry, NAME, ROUTES};
use super::registry::{Kind, Registry};
use crate::apps::matching::{Match, Prefix};
use crate::server::{HttpVersions, Listen, Options, Protocol, ProxyProtocolOptions};
use crate::tls::TlsOptions;

/// The JSON Schema (2020-12) of pipeline files with the layers and apps of `registry`.
#[must_use]
pub fn schema(registry: &Registry) -> Value {
    let mut generator = SchemaGenerator::default();
    let listen = of::<Listen>(&mut generator);
    let tls = of::<TlsOptions>(&mut generator);
    let proxy_protocol = of::<ProxyProtocolOptions>(&mut generator);
    let http = of::<HttpVersions>(&mut generator);
    let protocol = of::<Protocol>(&mut generator);
    let mut trust = of::<OneOrMany<Peer>>(&mut generator);
    if let Some(trust) = trust.as_object_mut() {
        trust.insert("description".to_owned(), TRUST.into());
    }
    let server = of::<Options>(&mut generator);
    let test = of::<WrittenTest>(&mut generator);
    let route = route(&mut generator);
    let mut allow = of::<Vec<AllowEntry>>(&mut generator);
    allow["description"] = ALLOW.into();
    let layers = kinds(registry.layers(), &mut generator);
    let apps = kinds(registry.apps(), &mut generator);
    let mut definitions = generator.take_definitions(true);
    definitions.values_mut().for_each(admit_references);

    let layer = layer(&layers, &definitions);
    let app = app(&apps, &definitions);
    definitions.extend([
        (
            "Reference".to_owned(),
            json!({ "type": "string", "pattern": r"^\$\{[^}]+\}$", "description": "One variable or file, whose value is used here." }),
        ),
        ("Layer".to_owned(), layer),
        ("App".to_owned(), app),
        ("Layers".to_owned(), json!({ "type": "array", "items": { "$ref": "#/$defs/Layer" }, "description": LAYERS })),
        ("Route".to_owned(), route),
        ("Allow".to_owned(), allow),
        ("Name".to_owned(), json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "description": A_NAME })),
    ]);
    definitions.sort_keys();
    let address = json!({ "anyOf": [listen, object(json!({
        "at": listen,
        "mode": {
            "type": "string",
            "pattern": r"^([0-7]{3}|0[0-7]{3}|.*\$.*)$",
            "description": "The permissions of a Unix socket's file in octal figures, as in `0660`. Clients need the permission to write. By default the umask decides."
        },
        "group": { "type": "string", "description": "The group of a Unix socket's file: a name or a number. By default that of the process." },
        "tls": tls,
        "proxy_protocol": proxy_protocol,
        "http": http,
        "protocol": protocol,
        "trust": trust
    }), &["at"])] });
    let entry = json!({ "anyOf": [{ "$ref": "#/$defs/App" }, object(stack(), &["app"])] });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ziggurat pipeline",
        "description": "A stack of layers over an app. Strings may hold `${VAR}`, `${VAR:-default}` and `${file:path}`; `$$` is a plain `$`.",
        "type": "object",
        "properties": {
            "$schema": { "type": "string", "description": "The address of this schema, for editors." },
            "listen": {
                "description": "An address or a list of addresses to listen on. By default `127.0.0.1:8000`, which only this machine reaches.",
                "anyOf": [address, { "type": "array", "items": address, "minItems": 1 }]
            },
            "server": server,
            "layers": { "$ref": "#/$defs/Layers" },
            "allow": { "$ref": "#/$defs/Allow" },
            "app": { "$ref": "#/$defs/App" },
            "apps": {
                "type": "object",
                "description": "Named apps, for use in several places. A named app is built once, and all references share it.",
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
                "additionalProperties": entry
            },
            "tests": { "type": "array", "items": test, "description": TESTS }
        },
        "required": ["app"],
        "additionalProperties": false,
        "$defs": definitions
    })
}

const A_NAME: &str =
    "A name of your own, unique in the file: the log, metrics and `ziggurat status` show it, and state is kept under it across reloads.";

const TRUST: &str = "The front servers whose variables are believed, where `protocol` is not `http`: networks such as `10.0.0.0/8`, addresses, and `unix`. \
                     Connections of others are closed. By default `unix`, so a TCP address needs it.";

const TESTS: &str = "Requests, and what is expected to become of them: `ziggurat check` and `ziggurat test` judge them.";
const ALLOW: &str = "Order lints that are not reported about anything in this object. One that is not needed is itself a finding.";

const LAYERS: &str = "The layers over the app, outermost first: the first one sees the request first and the response last.";

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// Each kind with its schema, by name.
fn kinds<'a>(kinds: &'a [Kind], generator: &mut SchemaGenerator) -> Vec<(&'a Kind, Value)> {
    kinds.iter().map(|kind| (kind, (kind.schema)(generator).to_value())).collect()
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn stack() -> Value {
    json!({ "layers": { "$ref": "#/$defs/Layers" }, "allow": { "$ref": "#/$defs/Allow" }, "app": { "$ref": "#/$defs/App" } })
}

fn layer(layers: &[(&Kind, Value)], definitions: &Map<String, Value>) -> Value {
    let bare = layers.iter().filter(|(_, schema)| definition(schema, definitions).get("required").is_none());
    let bare: Vec<Value> = bare.map(|(kind, _)| json!({ "const": kind.name, "description": kind.summary() })).collect();
    json!({
        "description": "A layer: its name, for the defaults, or `{\"name\": options}`.",
        "anyOf": [{ "type": "string", "anyOf": bare }, single(layers, definitions), { "$ref": "#/$defs/Reference" }]
    })
}

fn app(apps: &[(&Kind, Value)], definitions: &Map<String, Value>) -> Value {
    let mut kinds = single(apps, definitions);
    kinds["properties"][ROUTES] = json!({
        "type": "array",
        "description": "Chooses an app by the request: the first route that matches takes it. If none does, the answer is 404.",
        "items": { "$ref": "#/$defs/Route" },
        "minItems": 1
    });
    json!({
        "description": "What is below the layers: the name of an entry of `apps`, or `{\"kind\": options}`.",
        "anyOf": [{ "type": "string", "description": "The name of an entry of `apps`." }, kinds]
    })
}

/// An object with one of these names as its only key besides `as`.
fn single(kinds: &[(&Kind, Value)], definitions: &Map<String, Value>) -> Value {
    let mut properties: Map<String, Value> = kinds
        .iter()
        .map(|(kind, schema)| {
            let options = definition(schema, definitions);
            let short = kind.shorthand.and_then(|field| options.get("properties")?.get(field).cloned());
            let schema = match short {
                Some(short) => json!({ "description": kind.summary(), "anyOf": [schema, short] }),
                None => schema.clone(),
            };
            (kind.name.to_owned(), schema)
        })
        .collect();
    properties.insert(NAME.to_owned(), json!({ "$ref": "#/$defs/Name" }));
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "if": { "required": [NAME] },
        "then": { "minProperties": 2, "maxProperties": 2 },
        "else": { "minProperties": 1, "maxProperties": 1 }
    })
}

/// The definition that a reference points to.
fn definition<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/$defs/"));
    name.and_then(|name| definitions.get(name)).unwrap_or(schema)
}

fn route(generator: &mut SchemaGenerator) -> Value {
    let (matching, mount, deadline) = (of::<Match>(generator), of::<Prefix>(generator), of::<Duration>(generator));
    let mut reserve = of::<NonZeroUsize>(generator);
    admit_references(&mut reserve);
    reserve["description"] = json!("The number of threads of each `wsgi` app below that only requests of this route may use.");
    let mut enabled = of::<bool>(generator);
    admit_references(&mut enabled);
    enabled["description"] = json!("Whether the route takes requests, for instance `\"${file:maintenance}\"`. By default it does.");
    let mut properties = json!({
        "enabled": enabled,
        "match": matching,
        "mount": {
            "description": "Takes the requests at and below this path, and removes the prefix from the path: a WSGI app finds it in SCRIPT_NAME.",
            "anyOf": [mount]
        },
        NAME: { "$ref": "#/$defs/Name" },
        "deadline": {
            "description": "The time until the app has to begin its response, instead of its own `deadline`. A later one is answered 504.",
            "anyOf": [deadline]
        },
        "reserve": reserve
    });
    if let (Some(properties), Value::Object(stack)) = (properties.as_object_mut(), stack()) {
        properties.extend(stack);
    }
    let mut route = object(properties, &["app"]);
    route["description"] =
        json!("A stack with a condition. Without `match` and `mount` it takes every request that no earlier route took.");
    route
}

/// Accepts a string that is one `${...}` for every number, boolean and fixed word, as the reader does.
fn admit_references(schema: &mut Value) {
    let Value::Object(keys) = schema else { return };
    for (key, value) in keys.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "patternProperties", Value::Object(children)) => children.values_mut().for_each(admit_references),
            ("items" | "additionalProperties", child) => admit_references(child),
            ("anyOf" | "oneOf" | "prefixItems", Value::Array(children)) => {
                children.iter_mut().filter(|child| child.get("const").is_none()).for_each(admit_references);
            }
            _ => {}
        }
    }
    let typed = keys.get("type").is_some_and(|types| match types {
        Value::Array(types) => types.iter().any(is_scalar),
        name => is_scalar(name),
    });
    let words = ["anyOf", "oneOf"]
        .iter()
        .any(|key| keys.get(*key).and_then(Value::as_array).is_some_and(|list| list.iter().any(|child| child.get("const").is_some())));
    if !typed && !words && !keys.contains_key("enum") {
        return;
    }
    let mut outer = Map::new();
    for annotation in ["description", "default", "examples"] {
        if let Some(value) = keys.shift_remove(annotation) {
            outer.insert(annotation.to_owned(), value);
        }
    }
    outer.insert("anyOf".to_owned(), json!([std::mem::take(keys), { "$ref": "#/$defs/Reference" }]));
    *keys = outer;
}

fn is_scalar(name: &Value) -> bool {
    matches!(name.as_str(), Some("integer" | "number" | "boolean"))
}
