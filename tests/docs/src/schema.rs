//! Reads an OpenAPI schema as it stands in a CustomResourceDefinition into rows of a table.

use serde_json::{Map, Value};

use crate::Error;

/// Fields whose own fields are not listed: they are Kubernetes' own.
const NOT_OPENED: [&str; 1] = ["spec.template"];

/// One kind.
pub struct Kind {
    /// `spec.names.kind`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Rules about the object as a whole.
    pub rules: Vec<String>,
    /// What `kubectl get` shows.
    pub columns: Vec<Column>,
    /// `spec` and `status`, and every object inside them.
    pub sections: Vec<Section>,
}

/// One column of `kubectl get`.
pub struct Column {
    /// Its heading, as kubectl prints it.
    pub name: String,
    /// Whether it takes `-o wide`.
    pub wide: bool,
    /// What it shows.
    pub description: String,
}

/// One object with its fields.
pub struct Section {
    /// Where it stands, such as `spec.smokeProbes[]`.
    pub path: String,
    /// What it is.
    pub description: String,
    /// Its fields, in alphabetical order.
    pub fields: Vec<Field>,
    /// What is refused about it, with the field that the API server blames.
    pub rules: Vec<String>,
}

/// One field.
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type, in words; the path of its section where it has one.
    pub kind: Kinds,
    /// Its default as JSON, or that it must be given.
    pub default: Default,
    /// What it means.
    pub description: String,
    /// What values it may have.
    pub bounds: Vec<String>,
}

/// The type of a field.
pub enum Kinds {
    /// In words.
    Words(String),
    /// An object with a section of its own.
    Object(String),
    /// A list of such objects.
    List(String),
}

/// What holds when a field is left out.
pub enum Default {
    /// It must not be left out.
    Required,
    /// This, as JSON.
    Value(String),
    /// Nothing in particular.
    None,
}

impl Kind {
    /// Reads a CustomResourceDefinition.
    pub fn read(crd: &Value) -> Result<Self, Error> {
        let version = crd.pointer("/spec/versions/0").ok_or(Error::Missing("version"))?;
        let schema = version.pointer("/schema/openAPIV3Schema").ok_or(Error::Missing("openAPIV3Schema"))?;
        let mut sections = vec![];
        for root in ["spec", "status"] {
            let part = schema.pointer(&format!("/properties/{root}")).ok_or(Error::Missing("spec or status"))?;
            collect(root, part, &mut sections);
        }
        let columns = version.get("additionalPrinterColumns").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            name: crd.pointer("/spec/names/kind").map(text).ok_or(Error::Missing("kind"))?,
            description: described(schema),
            rules: rules(schema),
            columns: columns
                .map(|column| Column {
                    name: column.get("name").map(text).unwrap_or_default(),
                    wide: column.get("priority").and_then(Value::as_i64).unwrap_or(0) > 0,
                    description: described(column),
                })
                .collect(),
            sections,
        })
    }
}

fn collect(path: &str, schema: &Value, sections: &mut Vec<Section>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = properties.iter().map(|(name, field)| read_field(path, name, field, required.contains(&name.as_str()))).collect();
    sections.push(Section { path: path.into(), description: described(schema), fields, rules: rules(schema) });
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        if NOT_OPENED.contains(&path.as_str()) {
            continue;
        }
        collect(&path, field, sections);
        if let Some(items) = field.get("items") {
            collect(&format!("{path}[]"), items, sections);
        }
    }
}

fn read_field(path: &str, name: &str, field: &Value, required: bool) -> Field {
    let default = match field.get("default") {
        Some(value) => Default::Value(value.to_string()),
        None if required => Default::Required,
        None => Default::None,
    };
    Field { name: name.into(), kind: kind(&format!("{path}.{name}"), field), default, description: described(field), bounds: bounds(field) }
}

fn kind(path: &str, field: &Value) -> Kinds {
    if NOT_OPENED.contains(&path) {
        return Kinds::Words("PodTemplateSpec".into());
    }
    if field.get("properties").is_some() {
        return Kinds::Object(path.into());
    }
    match field.get("items") {
        Some(items) if items.get("properties").is_some() => Kinds::List(format!("{path}[]")),
        Some(items) => Kinds::Words(format!("list of {}", plain(items))),
        None => Kinds::Words(plain(field)),
    }
}

fn plain(field: &Value) -> String {
    if field.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return "integer or string".into();
    }
    if field.get("enum").is_some() {
        return "one word".into();
    }
    if let Some(values) = field.get("additionalProperties") {
        return format!("map of {}", plain(values));
    }
    match (field.get("type").and_then(Value::as_str), field.get("format").and_then(Value::as_str)) {
        (Some("string"), Some("date-time")) => "time".into(),
        (Some(kind), _) => kind.into(),
        (None, _) => "any".into(),
    }
}

/// What values a field may have, in words.
fn bounds(field: &Value) -> Vec<String> {
    let mut bounds = vec![];
    let words = field.get("enum").and_then(Value::as_array).into_iter().flatten().filter(|word| !word.is_null());
    let words: Vec<String> = words.map(|word| format!("`{}`", text(word))).collect();
    if !words.is_empty() {
        bounds.push(format!("One of {}.", words.join(", ")));
    }
    for (least, most, what) in
        [("minLength", "maxLength", "characters"), ("minItems", "maxItems", "entries"), ("minProperties", "maxProperties", "entries")]
    {
        bounds.extend(range(field, least, most).map(|range| format!("{range} {what}.")));
    }
    bounds.extend(range(field, "minimum", "maximum").map(|range| format!("{range}.")));
    if let Some(items) = field.get("items") {
        bounds.extend(range(items, "minimum", "maximum").map(|range| format!("Each {}.", range.to_lowercase())));
    }
    match field.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => bounds.push("Each value once.".into()),
        Some("map") => {
            let keys = field.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
            bounds.push(format!("One entry a {}.", keys.map(|key| format!("`{}`", text(key))).collect::<Vec<_>>().join(" and ")));
        }
        _ => {}
    }
    bounds.extend(rules(field).into_iter().filter(|_| field.get("properties").is_none()));
    bounds
}

fn range(field: &Value, least: &str, most: &str) -> Option<String> {
    let number = |key: &str| field.get(key).and_then(Value::as_f64);
    match (number(least), number(most)) {
        (Some(least), Some(most)) => Some(format!("From {least} to {most}")),
        (Some(least), None) => Some(format!("At least {least}")),
        (None, Some(most)) => Some(format!("At most {most}")),
        (None, None) => None,
    }
}

/// The messages of the CEL rules of an object or a field.
fn rules(schema: &Value) -> Vec<String> {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
    rules
        .filter_map(Value::as_object)
        .map(|rule| match rule.get("fieldPath").map(text) {
            Some(path) => format!("`{}`: {}.", path.trim_start_matches('.'), message(rule)),
            None => format!("{}.", sentence(&message(rule))),
        })
        .collect()
}

fn message(rule: &Map<String, Value>) -> String {
    rule.get("message").or_else(|| rule.get("rule")).map(text).unwrap_or_default()
}

fn sentence(message: &str) -> String {
    // A message that begins with a field's name keeps its small letter.
    if !message.starts_with("must ") && !message.starts_with("exactly ") {
        return message.into();
    }
    let mut letters = message.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn described(schema: &Value) -> String {
    schema.get("description").map(text).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
