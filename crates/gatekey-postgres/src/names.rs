//! Which tables are ours: a schema and a prefix, filled into every statement.

/// The most characters of each. Together with the dot between them they fit into PostgreSQL's 63 as the name of a
/// channel, and the prefix with the longest of our names too.
const MAX: usize = 31;

/// A schema and a prefix that are safe to write into SQL.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    schema: String,
    prefix: String,
}

impl Names {
    /// Takes them in, or says what is wrong with them.
    pub(crate) fn new(schema: &str, prefix: &str) -> Result<Self, String> {
        if schema.is_empty() {
            return Err("the schema has no name".to_owned());
        }
        for (what, name) in [("schema", schema), ("prefix", prefix)] {
            let fits =
                name.len() <= MAX && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !fits {
                return Err(format!("the {what} {name:?} is not {MAX} or fewer of A-Z, a-z, 0-9 and _"));
            }
        }
        Ok(Self { schema: schema.to_owned(), prefix: prefix.to_owned() })
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What notifications are sent through, and what locks are named after: no other store's.
    pub(crate) fn channel(&self) -> String {
        format!("{}.{}", self.schema, self.prefix)
    }

    /// A table with its schema, as SQL writes it: in quotes, so that no name is a keyword or is folded.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("\"{}\".\"{}{name}\"", self.schema, self.prefix)
    }

    /// Fills the names into a statement: `@session` becomes `"public"."gatekey_session"`.
    pub(crate) fn fill(&self, template: &str) -> String {
        self.write(template, |name| self.table(name))
    }

    /// The same for statements that make tables: names of indexes and constraints stand without a schema.
    pub(crate) fn fill_definition(&self, template: &str) -> String {
        const TABLES: &[&str] = &["session", "revoked_all", "user", "throttle", "version"];
        self.write(template, |name| {
            if TABLES.contains(&name) { self.table(name) } else { format!("\"{}{name}\"", self.prefix) }
        })
    }

    fn write(&self, template: &str, name: impl Fn(&str) -> String) -> String {
        let mut pieces = template.split('@');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(piece.len());
            let (placeholder, rest) = piece.split_at(end);
            match placeholder {
                "channel" => text.push_str(&self.channel()),
                "schema" => text.push_str(&self.schema),
                placeholder => text.push_str(&name(placeholder)),
            }
            text.push_str(rest);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_plain_are_refused() {
        for (schema, prefix) in [
            ("", "gatekey_"),
            ("a\"b", ""),
            ("public", "a b"),
            ("public", "p'"),
            ("public", "$1"),
            ("öffentlich", ""),
            ("public;", ""),
            ("a.b", ""),
            ("a\0b", ""),
            ("abcdefghijklmnopqrstuvwxyzabcdef", ""),
        ] {
            assert!(Names::new(schema, prefix).is_err(), "{schema:?} {prefix:?}");
        }
        for (schema, prefix) in
            [("public", "gatekey_"), ("User", ""), ("_0", "9"), ("abcdefghijklmnopqrstuvwxyzabcde", "")]
        {
            assert!(Names::new(schema, prefix).is_ok(), "{schema:?} {prefix:?}");
        }
    }

    #[test]
    fn placeholders_are_filled_whole() {
        let names = Names::new("app", "gk_").unwrap();
        let filled = names.fill("SELECT '@channel', @revoked_all.at FROM @session, @schema");
        assert_eq!(filled, r#"SELECT 'app.gk_', "app"."gk_revoked_all".at FROM "app"."gk_session", app"#);
        let filled = names.fill_definition("CREATE INDEX @session_ended ON @session (x)");
        assert_eq!(filled, r#"CREATE INDEX "gk_session_ended" ON "app"."gk_session" (x)"#);
    }
}
