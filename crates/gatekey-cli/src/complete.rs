//! Completions for shells, from the table of commands.

use std::fmt::Write as _;

use crate::{
    Failure, Outcome,
    commands::{COMMANDS, Command, Invocation, Takes},
};

pub(crate) fn write(invocation: &Invocation) -> Outcome {
    let script = match invocation.argument(0)? {
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        other => return Err(Failure::Usage(format!("{other:?} is none of bash, zsh, fish"))),
    };
    crate::output::write_out(format_args!("{script}"))?;
    Ok(true)
}

/// What may follow each word that begins a command, with what it is about; the empty word first.
fn menus() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let mut menus: Vec<(&str, Vec<(&str, &str)>)> = vec![("", Vec::new())];
    for command in COMMANDS {
        let (first, rest) = command.name.split_once(' ').unwrap_or((command.name, ""));
        if menus[0].1.iter().all(|(word, _)| *word != first) {
            let about = if rest.is_empty() { command.about } else { "" };
            menus[0].1.push((first, about));
        }
        if !rest.is_empty() {
            match menus.iter_mut().find(|(word, _)| *word == first) {
                Some((_, words)) => words.push((rest, command.about)),
                None => menus.push((first, vec![(rest, command.about)])),
            }
        }
    }
    menus
}

fn words(takes: Takes) -> Option<String> {
    match takes {
        Takes::One(words) => Some(words.join(" ")),
        Takes::Text | Takes::File => None,
    }
}

fn switches(command: &Command) -> String {
    let names = command.options.iter().map(|option| format!("--{}", option.name));
    names.chain(["--help".to_owned()]).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let mut known = String::new();
    let (mut values, mut menu) = (String::new(), String::new());
    for (word, rest) in menus() {
        let list: Vec<_> = rest.iter().map(|(word, _)| *word).collect();
        let more = if word.is_empty() { " --help --version" } else { " --help" };
        let _ = writeln!(menu, "    {:?}) words={:?} ;;", word, list.join(" ") + more);
        for next in list {
            let path = if word.is_empty() { next.to_owned() } else { format!("{word} {next}") };
            let _ = write!(known, "{}{path:?}", if known.is_empty() { "" } else { "|" });
        }
    }
    for command in COMMANDS {
        for option in command.options {
            let Some((_, takes)) = option.value else { continue };
            let place = format!("{}:--{}", command.name, option.name);
            let what = match (takes, words(takes)) {
                (_, Some(words)) => format!("COMPREPLY=($(compgen -W {words:?} -- \"$cur\"))"),
                (Takes::File, None) => "COMPREPLY=($(compgen -f -- \"$cur\"))".to_owned(),
                (_, None) => "COMPREPLY=()".to_owned(),
            };
            let _ = writeln!(values, "    {place:?}) {what}; return ;;");
        }
        let (mut list, mut files) = (switches(command), "");
        if let Some(argument) = &command.argument {
            match (argument.takes, words(argument.takes)) {
                (_, Some(words)) => list = format!("{words} {list}"),
                (Takes::File, None) => files = " files=1",
                (_, None) => {}
            }
        }
        let _ = writeln!(menu, "    {:?}) words={list:?}{files} ;;", command.name);
    }
    format!(
        r#"_gatekey() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" path="" next words="" files="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="${{path:+$path }}${{COMP_WORDS[i]}}"
    case "$next" in
      {known}) path="$next" ;;
    esac
  done
  case "$path:$prev" in
{values}  esac
  case "$path" in
{menu}  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ -n "$files" && "$cur" != -* ]]; then
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}}
complete -o filenames -F _gatekey gatekey
"#
    )
}

/// A text within single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn zsh() -> String {
    let mut script = "#compdef gatekey\n_gatekey() {\n  local -a list\n".to_owned();
    script.push_str("  local first=\"${words[2]}\" second=\"${words[3]}\"\n");
    let describe = |list: &[(&str, &str)]| -> String {
        let entry = |(word, about): &(&str, &str)| {
            quoted(&if about.is_empty() {
                (*word).to_owned()
            } else {
                format!("{word}:{}", about.replace(':', "\\:"))
            })
        };
        list.iter().map(entry).collect::<Vec<_>>().join(" ")
    };
    for (word, rest) in menus() {
        let condition = if word.is_empty() {
            "(( CURRENT == 2 ))".to_owned()
        } else {
            format!("[[ \"$first\" == {word} ]] && (( CURRENT == 3 ))")
        };
        let _ = writeln!(
            script,
            "  if {condition}; then list=({}); _describe command list; return; fi",
            describe(&rest)
        );
    }
    for command in COMMANDS {
        let (first, rest) = command.name.split_once(' ').unwrap_or((command.name, ""));
        let condition = if rest.is_empty() {
            format!("[[ \"$first\" == {first} ]]")
        } else {
            format!("[[ \"$first\" == {first} && \"$second\" == {rest} ]]")
        };
        let mut lines = String::new();
        for option in command.options {
            let Some((_, takes)) = option.value else { continue };
            let what = match (takes, words(takes)) {
                (_, Some(words)) => format!("compadd {words}"),
                (Takes::File, None) => "_files".to_owned(),
                (_, None) => "_message value".to_owned(),
            };
            let _ = writeln!(
                lines,
                "    if [[ \"${{words[CURRENT-1]}}\" == --{} ]]; then {what}; return; fi",
                option.name
            );
        }
        let options: Vec<_> =
            command.options.iter().map(|option| (format!("--{}", option.name), option.about)).collect();
        let options: Vec<_> = options.iter().map(|(name, about)| (name.as_str(), *about)).collect();
        let argument = command.argument.as_ref().map_or_else(String::new, |argument| {
            match (argument.takes, words(argument.takes)) {
                (_, Some(words)) => format!("    compadd {words}\n"),
                (Takes::File, None) => "    _files\n".to_owned(),
                (_, None) => String::new(),
            }
        });
        let _ = write!(
            script,
            "  if {condition}; then\n{lines}    list=({} '--help:show the help'); _describe option list\n{argument}    return\n  fi\n",
            describe(&options)
        );
    }
    script.push_str("}\ncompdef _gatekey gatekey\n");
    script
}

fn fish() -> String {
    let mut script = "complete -c gatekey -f\n".to_owned();
    for (word, rest) in menus() {
        let condition = if word.is_empty() {
            "__fish_use_subcommand".to_owned()
        } else {
            let inner: Vec<_> = rest.iter().map(|(word, _)| *word).collect();
            format!(
                "__fish_seen_subcommand_from {word}; and not __fish_seen_subcommand_from {}",
                inner.join(" ")
            )
        };
        for (next, about) in rest {
            let _ = writeln!(
                script,
                "complete -c gatekey -n {} -a {next} -d {}",
                quoted(&condition),
                quoted(about)
            );
        }
    }
    for command in COMMANDS {
        let seen = |word: &str| format!("__fish_seen_subcommand_from {word}");
        let condition = quoted(&command.name.split(' ').map(seen).collect::<Vec<_>>().join("; and "));
        for option in command.options {
            let value = match option.value {
                None => String::new(),
                Some((_, takes)) => match (takes, words(takes)) {
                    (_, Some(words)) => format!(" -x -a {}", quoted(&words)),
                    (Takes::File, None) => " -r -F".to_owned(),
                    (_, None) => " -x".to_owned(),
                },
            };
            let _ = writeln!(
                script,
                "complete -c gatekey -n {condition} -l {}{value} -d {}",
                option.name,
                quoted(option.about)
            );
        }
        match command.argument.as_ref().map(|argument| (argument.takes, words(argument.takes))) {
            Some((_, Some(words))) => {
                let _ = writeln!(script, "complete -c gatekey -n {condition} -a {}", quoted(&words));
            }
            Some((Takes::File, None)) => {
                let _ = writeln!(script, "complete -c gatekey -n {condition} -F");
            }
            Some((_, None)) | None => {}
        }
    }
    script
}
