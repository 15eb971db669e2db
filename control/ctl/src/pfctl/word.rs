//! The words behind `-s`, `-F`, `-T` and `-x`, of which pfctl takes any beginning that fits one only.

use std::str::FromStr;

use api::LogLevel;

macro_rules! words {
    ($( #[$doc:meta] )* $name:ident: $( $variant:ident $word:literal )*) => {
        $( #[$doc] )*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $variant, )* }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                complete(word, &[ $( (Self::$variant, $word), )* ])
            }
        }
    };
}

words! {
    /// What `-s` shows.
    Show: Nat "nat" Queues "queue" Rules "rules" Anchors "Anchors" Sources "Sources" States "states" Info "info"
        Interfaces "Interfaces" Labels "labels" Timeouts "timeouts" Memory "memory" Tables "Tables"
        Fingerprints "osfp" All "all"
}

words! {
    /// What `-F` removes.
    Flush: Rules "rules" Sources "Sources" States "states" Info "info" Tables "Tables" Fingerprints "osfp"
        Reset "Reset" All "all"
}

words! {
    /// What `-T` does.
    Verb: Kill "kill" Flush "flush" Add "add" Delete "delete" Load "load" Replace "replace" Show "show"
        Test "test" Zero "zero" Expire "expire"
}

/// What `-x` sets: a level by any beginning of its name that fits one only, or by OpenBSD's former word for it.
pub fn level(word: &str) -> Result<LogLevel, String> {
    if let Some(level) = LogLevel::named(word) {
        return Ok(level);
    }
    // syslog(3) calls one of them `err`, and pfctl's list of words `error`.
    let word = if word == "error" { "err" } else { word };
    complete(word, &LogLevel::ALL.map(|level| (level, level.name())))
}

fn complete<T: Copy>(word: &str, all: &[(T, &str)]) -> Result<T, String> {
    let fitting: Vec<T> =
        all.iter().filter(|(_, known)| known.starts_with(word)).map(|(value, _)| *value).collect();
    match fitting.as_slice() {
        [one] => Ok(*one),
        [] => {
            let known: Vec<&str> = all.iter().map(|(_, known)| *known).collect();
            Err(format!("known are {}", known.join(", ")))
        }
        _ => Err(format!("{word} is ambiguous")),
    }
}
