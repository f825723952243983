//! The table of commands, and what is read from a command line by it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    future::Future,
    pin::Pin,
};

use crate::{Failure, Outcome, complete, keys, migrate, output::say, sessions, token, users};

/// What may stand at a place, for completions.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    /// Something that nobody can guess.
    Text,
    /// The name of a file.
    File,
    /// One of these.
    One(&'static [&'static str]),
}

pub(crate) struct Opt {
    /// Without its dashes.
    pub(crate) name: &'static str,
    /// What follows it, and what that is called; nothing for a switch.
    pub(crate) value: Option<(&'static str, Takes)>,
    pub(crate) about: &'static str,
}

pub(crate) struct Argument {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) count: std::ops::RangeInclusive<usize>,
}

type Running = Pin<Box<dyn Future<Output = Outcome>>>;

pub(crate) struct Command {
    /// One word or two.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// More, in whole sentences.
    pub(crate) text: &'static str,
    pub(crate) argument: Option<Argument>,
    pub(crate) options: &'static [Opt],
    pub(crate) run: fn(Invocation) -> Running,
}

const JSON: Opt = Opt { name: "json", value: None, about: "write JSON instead of a table" };
const STORE: Opt = Opt {
    name: "store",
    value: Some(("URL", Takes::Text)),
    about: "the application's store: sqlite:PATH, postgres://…[#SCHEMA] or redis://…[#PREFIX]; or set GATEKEY_STORE",
};
const USER: Opt = Opt { name: "user", value: Some(("NAME", Takes::Text)), about: "whose, by user name" };
const SUBJECT: Opt =
    Opt { name: "subject", value: Some(("ID", Takes::Text)), about: "whose, by the sub of tokens" };
const ALGORITHMS: Takes = Takes::One(&["EdDSA", "ES256", "PS256", "RS256", "HS256"]);

const fn file(name: &'static str) -> Option<Argument> {
    Some(Argument { name, takes: Takes::File, count: 1..=1 })
}

/// Everything there is.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "keys generate",
        about: "make a file of keys",
        text: "Writes a key for access tokens and a refresh secret into FILE, readable by its owner alone. A file that \
               exists is left alone.",
        argument: file("FILE"),
        options: &[Opt {
            name: "alg",
            value: Some(("ALG", ALGORITHMS)),
            about: "the algorithm of access tokens; EdDSA unless given",
        }],
        run: |invocation| Box::pin(async move { keys::generate(&invocation) }),
    },
    Command {
        name: "keys list",
        about: "show what each key of a file does",
        text: "Shows kid, purpose, algorithm and state of each key, and never a key itself. How long a retiring key goes on \
               verifying is the application's setting; the time shown is the longest that any setting allows.",
        argument: file("FILE"),
        options: &[JSON],
        run: |invocation| Box::pin(async move { keys::list(&invocation) }),
    },
    Command {
        name: "keys rotate",
        about: "let a new key follow the present one, without a refused request",
        text: "Adds a key that signs in 330 seconds. Applications that use the file look at it every 10 seconds: they publish \
               the key at once, change to it at that moment, and stop to verify with the former one when its tokens have \
               expired. Nothing has to be restarted. Keys that verify nothing any more are removed from the file.",
        argument: file("FILE"),
        options: &[
            Opt {
                name: "in",
                value: Some(("SECONDS", Takes::Text)),
                about: "when it signs; 330 unless given, so that whoever keeps the key set for five minutes knows it",
            },
            Opt {
                name: "alg",
                value: Some(("ALG", ALGORITHMS)),
                about: "its algorithm; that of the present key unless given",
            },
            Opt { name: "refresh", value: None, about: "the secret of refresh tokens instead" },
        ],
        run: |invocation| Box::pin(async move { keys::rotate(&invocation) }),
    },
    Command {
        name: "keys retire",
        about: "remove a key that does not sign",
        text: "Removes keys from FILE by kid: what they signed is refused as soon as applications have looked at the file. \
               The key that signs is refused; rotate first.",
        argument: Some(Argument { name: "FILE KID", takes: Takes::File, count: 2..=64 }),
        options: &[],
        run: |invocation| Box::pin(async move { keys::retire(&invocation) }),
    },
    Command {
        name: "token inspect",
        about: "say exactly why an access token would be refused",
        text: "Reads a token from FILE or from standard input (not from the command line, which others can see) and goes \
               through the rules of the contract in their order. Exit code 0 if all that were looked at hold, 1 if one does \
               not. Of claims nothing is said unless the signature is good.",
        argument: Some(Argument { name: "[FILE]", takes: Takes::File, count: 0..=1 }),
        options: &[
            Opt {
                name: "keys",
                value: Some(("FILE", Takes::File)),
                about: "check with the keys of this file",
            },
            Opt {
                name: "jwks",
                value: Some(("FILE", Takes::File)),
                about: "check with this JWK Set, such as /auth/jwks.json answers",
            },
            Opt {
                name: "public-key",
                value: Some(("FILE", Takes::File)),
                about: "check with this public key (PEM)",
            },
            Opt {
                name: "alg",
                value: Some(("ALG", ALGORITHMS)),
                about: "the algorithm of --public-key; that of its type unless given, PS256 for RSA",
            },
            Opt { name: "issuer", value: Some(("URL", Takes::Text)), about: "the application's issuer" },
            Opt {
                name: "audience",
                value: Some(("TEXT", Takes::Text)),
                about: "the application's audience; the issuer unless given",
            },
            Opt {
                name: "leeway",
                value: Some(("SECONDS", Takes::Text)),
                about: "the application's leeway; 30 unless given",
            },
            Opt {
                name: "now",
                value: Some(("SECONDS", Takes::Text)),
                about: "as of this time, in seconds since 1970",
            },
            Opt { name: "store", ..STORE },
            JSON,
        ],
        run: |invocation| Box::pin(token::inspect(invocation)),
    },
    Command {
        name: "sessions list",
        about: "show the live sessions of an account",
        text: "The newest first.",
        argument: None,
        options: &[STORE, USER, SUBJECT, JSON],
        run: |invocation| Box::pin(sessions::list(invocation)),
    },
    Command {
        name: "sessions revoke",
        about: "end sessions",
        text: "Ends the sessions of these ids, or with --all every session of an account, logins under way included. \
               Running applications refuse their access tokens within a second. Exit code 1 if there was nothing to end.",
        argument: Some(Argument { name: "[SESSION]...", takes: Takes::Text, count: 0..=1000 }),
        options: &[
            STORE,
            USER,
            SUBJECT,
            Opt { name: "all", value: None, about: "every session of --user or --subject" },
        ],
        run: |invocation| Box::pin(sessions::revoke(invocation)),
    },
    Command {
        name: "users disable",
        about: "disable an account and end its sessions",
        text: "",
        argument: Some(Argument { name: "NAME", takes: Takes::Text, count: 1..=1 }),
        options: &[STORE],
        run: |invocation| Box::pin(users::set_disabled(invocation, true)),
    },
    Command {
        name: "users enable",
        about: "enable an account again",
        text: "Its sessions stay ended: it logs in again.",
        argument: Some(Argument { name: "NAME", takes: Takes::Text, count: 1..=1 }),
        options: &[STORE],
        run: |invocation| Box::pin(users::set_disabled(invocation, false)),
    },
    Command {
        name: "users import",
        about: "create accounts from a file, with the password hashes they have",
        text: "FILE holds one JSON object a line, or CSV with a line of names: username and password_hash, and optionally id, \
               roles, scope, disabled, created_at (seconds since 1970). Hashes are argon2, bcrypt, scrypt or PBKDF2; they are \
               renewed at the next login. Every line is checked before any account is created: if one is wrong, none is. \
               Then accounts are created one by one. If the store fails in between, it is said how far it came, and the same \
               import may be run again: accounts of the same name and hash are brought up to date.",
        argument: file("FILE"),
        options: &[
            STORE,
            Opt {
                name: "format",
                value: Some(("FORMAT", Takes::One(&["json", "csv"]))),
                about: "csv for a file that ends in .csv, json for any other, unless given",
            },
            Opt { name: "check", value: None, about: "check every line and create nothing; needs no store" },
        ],
        run: |invocation| Box::pin(users::import(invocation)),
    },
    Command {
        name: "migrate",
        about: "make the tables of a store and bring them up to date",
        text: "Applications do the same at their start unless told not to.",
        argument: None,
        options: &[
            STORE,
            Opt { name: "check", value: None, about: "only say whether it is needed; exit code 1 if so" },
        ],
        run: |invocation| Box::pin(migrate::migrate(invocation)),
    },
    Command {
        name: "completions",
        about: "write what a shell needs to complete this command",
        text: "For bash: source <(gatekey completions bash). For zsh: gatekey completions zsh > _gatekey, in a folder of $fpath. \
               For fish: gatekey completions fish > ~/.config/fish/completions/gatekey.fish.",
        argument: Some(Argument { name: "SHELL", takes: Takes::One(&["bash", "zsh", "fish"]), count: 1..=1 }),
        options: &[],
        run: |invocation| Box::pin(async move { complete::write(&invocation) }),
    },
];

/// Whether an argument that begins with one dash is no option.
fn is_id(argument: &OsStr) -> bool {
    let text = argument.as_encoded_bytes();
    text.len() > 2 && text[0] == b'-' && text[1] != b'-'
}

/// A command line that was read.
pub(crate) struct Invocation {
    pub(crate) command: &'static Command,
    values: BTreeMap<&'static str, OsString>,
    pub(crate) arguments: Vec<OsString>,
}

impl Invocation {
    /// Reads a command line. `None` where help was asked for, and given.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, Failure> {
        use lexopt::prelude::{Long, Short, Value};

        let mut parser = lexopt::Parser::from_args(arguments);
        let (mut words, mut command) = (String::new(), None::<&Command>);
        let (mut values, mut arguments) = (BTreeMap::new(), Vec::new());
        loop {
            // An id or a kid is base64url, and may begin with a dash; no option of a command has one letter but -h.
            if command.is_some()
                && let Some(mut raw) = parser.try_raw_args()
                && let Some(id) = raw.next_if(is_id)
            {
                arguments.push(id);
                continue;
            }
            let Some(argument) = parser.next().map_err(usage)? else { break };
            match (argument, command) {
                (Short('h') | Long("help"), command) => {
                    crate::output::write_out(format_args!(
                        "{}",
                        command.map_or_else(|| overview(&words), help)
                    ))?;
                    return Ok(None);
                }
                (Short('V') | Long("version"), None) => {
                    say!("gatekey {}", env!("CARGO_PKG_VERSION"))?;
                    return Ok(None);
                }
                (Long(name), Some(command)) => {
                    let known = command.options.iter().find(|option| option.name == name);
                    let option = known.ok_or_else(|| {
                        Failure::Usage(format!(
                            "{} does not take --{name}; see --help (an id that begins so stands after --)",
                            command.name
                        ))
                    })?;
                    let value = match option.value {
                        Some(_) => parser.value().map_err(usage)?,
                        None => OsString::new(),
                    };
                    if values.insert(option.name, value).is_some() {
                        return Err(Failure::Usage(format!("--{} stands twice", option.name)));
                    }
                }
                (Value(value), Some(_)) => arguments.push(value),
                (Value(value), None) => {
                    if !words.is_empty() {
                        words.push(' ');
                    }
                    words.push_str(&value.to_string_lossy());
                    command = COMMANDS.iter().find(|command| command.name == words);
                    let begins = |command: &Command| command.name.starts_with(&format!("{words} "));
                    if command.is_none() && words == "help" {
                        crate::output::write_out(format_args!("{}", overview("")))?;
                        return Ok(None);
                    }
                    if command.is_none() && !COMMANDS.iter().any(begins) {
                        return Err(Failure::Usage(format!("there is no command {words:?}; see --help")));
                    }
                }
                (other, _) => return Err(usage(other.unexpected())),
            }
        }
        let Some(command) = command else {
            let missing =
                if words.is_empty() { "a command is needed".to_owned() } else { format!("{words} what?") };
            return Err(Failure::Usage(format!("{missing} See gatekey --help")));
        };
        let expected = command.argument.as_ref().map_or(0..=0, |argument| argument.count.clone());
        if !expected.contains(&arguments.len()) {
            return Err(Failure::Usage(format!("usage: {}", synopsis(command))));
        }
        Ok(Some(Self { command, values, arguments }))
    }

    /// Whether a switch is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of an option, as a path or whatever it is.
    pub(crate) fn value(&self, name: &str) -> Option<&OsString> {
        self.values.get(name)
    }

    /// The value of an option that is text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        let text = |value: &'_ OsString| value.to_str().map(str::to_owned);
        match self.values.get(name) {
            None => Ok(None),
            Some(value) if text(value).is_some() => Ok(value.to_str()),
            Some(_) => Err(Failure::Usage(format!("--{name}: not UTF-8"))),
        }
    }

    /// The value of an option that is a number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong = || Failure::Usage(format!("--{name}: {text:?} is not a number of seconds"));
        // Two hundred years are enough, and fit wherever they are added.
        text.parse().ok().filter(|seconds| *seconds <= 6_400_000_000).map(Some).ok_or_else(wrong)
    }

    /// The argument at a place, as text.
    pub(crate) fn argument(&self, at: usize) -> Result<&str, Failure> {
        let text = self.arguments.get(at).and_then(|argument| argument.to_str());
        text.ok_or_else(|| Failure::Usage("an argument is not UTF-8".to_owned()))
    }
}

fn usage(error: lexopt::Error) -> Failure {
    Failure::Usage(error.to_string())
}

fn synopsis(command: &Command) -> String {
    let options = if command.options.is_empty() { "" } else { " [OPTIONS]" };
    let argument =
        command.argument.as_ref().map_or_else(String::new, |argument| format!(" {}", argument.name));
    format!("gatekey {}{options}{argument}", command.name)
}

/// All commands, or those that begin with a word.
fn overview(words: &str) -> String {
    let mut text =
        "gatekey: keys, tokens, sessions and users of an application that uses Gatekey\n\nUsage:\n"
            .to_owned();
    for command in COMMANDS.iter().filter(|command| command.name.starts_with(words)) {
        text.push_str(&format!("  {:<16} {}\n", command.name, command.about));
    }
    text.push_str(
        "\n  gatekey COMMAND --help tells more; --version tells the version.\n\n\
         Exit codes: 0 done, or yes; 1 refused, or no; 2 the command line or a file is wrong; 3 a store gave no answer;\n\
         4 the output could not be written.\n",
    );
    text
}

fn help(command: &Command) -> String {
    let mut text = format!("gatekey {}: {}\n\nUsage: {}\n", command.name, command.about, synopsis(command));
    if !command.text.is_empty() {
        text.push_str(&format!("\n{}\n", wrapped(command.text, "")));
    }
    if !command.options.is_empty() {
        text.push_str("\nOptions:\n");
    }
    for option in command.options {
        let value = option.value.map_or_else(String::new, |(name, _)| format!(" {name}"));
        let name = format!("--{}{value}", option.name);
        text.push_str(&format!("  {name}\n{}\n", wrapped(option.about, "        ")));
    }
    text
}

/// Lines of 80 columns.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_ascii_whitespace() {
        let line = lines.last_mut();
        match line {
            Some(line) if line.chars().count() + word.chars().count() < 80 => {
                if line.len() > indent.len() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n")
}
