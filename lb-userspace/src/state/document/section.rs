//! Sections of the file: read as the keys of a change, and edited where they stand, with their comments.

use toml_edit::{Array, ArrayOfTables, Item, Table, TableLike, Value};

use super::super::change::{AclAction, ChangeError, Keys};
use super::SERVERS;
use crate::forms::Prefix;

/// What a table has, as a change would say it.
pub(in super::super) fn keys(table: &dyn TableLike) -> Keys {
    table.iter().map(|(key, item)| (key.to_owned(), json(item))).collect()
}

fn json(item: &Item) -> serde_json::Value {
    match item {
        Item::None => serde_json::Value::Null,
        Item::Value(value) => json_of(value),
        Item::Table(table) => keys(table).into(),
        Item::ArrayOfTables(tables) => {
            tables.iter().map(|table| serde_json::Value::from(keys(table))).collect()
        }
    }
}

fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(truth) => (*truth.value()).into(),
        Value::Datetime(time) => time.value().to_string().into(),
        Value::Array(elements) => elements.iter().map(json_of).collect(),
        Value::InlineTable(table) => keys(table).into(),
    }
}

/// What the file would have for it; nothing for `null`.
fn value(json: &serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(truth) => (*truth).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::INFINITY).into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(elements) => Value::Array(elements.iter().filter_map(value).collect()),
        serde_json::Value::Object(keys) => Value::InlineTable(
            keys.iter().filter_map(|(key, json)| Some((key.as_str(), value(json)?))).collect(),
        ),
    })
}

/// Sets keys of a table; whether any of them had another value.
pub(super) fn set(table: &mut dyn TableLike, keys: &Keys) -> bool {
    let mut differs = false;
    for (key, json) in keys {
        let before = table.get(key).map_or(serde_json::Value::Null, self::json);
        if before == *json {
            continue;
        }
        differs = true;
        // Of a section, what stays keeps its place and its comments.
        let section = table.get_mut(key).and_then(Item::as_table_like_mut);
        if let (Some(section), Some(new)) = (section, json.as_object()) {
            let gone: Vec<String> =
                section.iter().map(|(key, _)| key.to_owned()).filter(|key| !new.contains_key(key)).collect();
            for key in gone {
                section.remove(&key);
            }
            set(section, new);
            continue;
        }
        match (table.get_mut(key), value(json)) {
            (Some(Item::Value(old)), Some(mut new)) => {
                // The comment behind it stays there.
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            (_, Some(new)) => drop(table.insert(key, Item::Value(new))),
            (_, None) => drop(table.remove(key)),
        }
    }
    differs
}

/// An element of a list of tables, in either form.
pub(super) fn nth(list: &mut Item, place: usize) -> Option<&mut dyn TableLike> {
    match list {
        Item::ArrayOfTables(tables) => tables.get_mut(place).map(|table| table as &mut dyn TableLike),
        list => list.as_array_mut()?.get_mut(place)?.as_inline_table_mut().map(|table| table as _),
    }
}

pub(super) fn remove(table: &mut dyn TableLike, list: &str, place: usize) {
    let is_empty = match table.get_mut(list) {
        Some(Item::ArrayOfTables(tables)) => {
            tables.remove(place);
            tables.is_empty()
        }
        Some(item) => item.as_array_mut().is_none_or(|array| {
            array.remove(place);
            array.is_empty()
        }),
        None => false,
    };
    if is_empty {
        table.remove(list);
    }
}

/// Appends to a list of tables, in the form that it has.
pub(super) fn push(table: &mut dyn TableLike, list: &str, keys: &Keys) {
    let item = table.entry(list).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    match item {
        Item::ArrayOfTables(tables) => {
            let nested = if list == SERVERS { INDENT } else { "" };
            let indent = tables.iter().last().map_or(nested, indent).to_owned();
            tables.push(written(keys, &indent));
        }
        item => {
            if let (Some(array), Some(table)) = (item.as_array_mut(), value(&keys.clone().into())) {
                array.push(table);
            }
        }
    }
}

/// How far sections within sections are moved to the right.
const INDENT: &str = "  ";

/// How far a section is moved to the right.
fn indent(table: &Table) -> &str {
    let before = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
    let last = before.rsplit('\n').next().unwrap_or_default();
    if last.trim().is_empty() { last } else { "" }
}

/// A section as one would write it.
fn written(keys: &Keys, indent: &str) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix(format!("\n{indent}"));
    for (key, json) in keys {
        let rows =
            json.as_array().filter(|_| key == SERVERS).map(|rows| rows.iter().map(|row| row.as_object()));
        if let Some(rows) = rows.and_then(|rows| rows.collect::<Option<Vec<_>>>()) {
            let rows = rows.into_iter().map(|row| written(row, &format!("{indent}{INDENT}")));
            table.insert(key, Item::ArrayOfTables(rows.collect()));
        } else if let Some(value) = value(json) {
            table.insert(key, Item::Value(value));
            if let Some(mut key) = table.key_mut(key) {
                key.leaf_decor_mut().set_prefix(indent);
            }
        }
    }
    table
}

/// Treats a prefix of clients in another way.
pub(super) fn edit_acl(
    table: &mut dyn TableLike,
    action: AclAction,
    prefix: Prefix,
) -> Result<bool, ChangeError> {
    let is_it = |value: &Value| value.as_str().and_then(|text| text.parse().ok()) == Some(prefix);
    let wanted = match action {
        AclAction::Deny => Some("deny"),
        AclAction::Allow => Some("allow"),
        AclAction::Remove => None,
    };
    let has_it = |list: &Item| list.as_array().is_some_and(|list| list.iter().any(is_it));
    let found: Vec<&str> =
        ["deny", "allow"].into_iter().filter(|key| table.get(key).is_some_and(has_it)).collect();
    if wanted.is_none() && found.is_empty() {
        return Err(ChangeError::NoSuchPrefix(prefix));
    }
    for key in found.iter().filter(|key| Some(**key) != wanted) {
        if let Some(list) = table.get_mut(key).and_then(Item::as_array_mut) {
            list.retain(|value| !is_it(value));
        }
    }
    let Some(wanted) = wanted else { return Ok(true) };
    if found == [wanted] {
        return Ok(false);
    }
    if !found.contains(&wanted) {
        let list = table.entry(wanted).or_insert(Item::Value(Array::new().into()));
        if let Some(list) = list.as_array_mut() {
            list.push(prefix.to_string());
        }
    }
    Ok(true)
}
