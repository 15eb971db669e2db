//! The words behind `-s`, `-F`, `-T` and `-x`, of which pfctl takes any beginning that fits one only.

use std::str::FromStr;

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
    Show: Queues "queue" Rules "rules" Anchors "Anchors" Sources "Sources" States "states" Info "info"
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
    Verb: Kill "kill" Flush "flush" Add "add" Delete "delete" Replace "replace" Show "show" Test "test"
        Zero "zero" Expire "expire"
}

words! {
    /// How much is written to the log.
    Level: Debug "debug" Info "info" Notice "notice" Warning "warning" Err "error" Crit "crit" Alert "alert"
        Emerg "emerg"
}

impl Level {
    /// As syslog(3) and `pfctl -si` call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Err => "err",
            Self::Crit => "crit",
            Self::Alert => "alert",
            Self::Emerg => "emerg",
        }
    }
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
