//! How grave messages are (pf.conf(5) `set debug`, pfctl(8) `-x`).

use serde::{Deserialize, Serialize};

macro_rules! log_levels {
    ($( $variant:ident $name:literal $doc:literal )*) => {
        /// How grave a message is, in syslog(3)'s words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum LogLevel {
            $( #[doc = $doc] $variant, )*
        }

        impl LogLevel {
            /// Every one, the gravest first.
            pub const ALL: [Self; [ $( $name, )* ].len()] = [ $( Self::$variant, )* ];

            /// Its name, as `pfctl -si` shows it.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }
        }
    };
}

log_levels! {
    Emerg "emerg" "The system is unusable."
    Alert "alert" "Something has to be done at once."
    Crit "crit" "Critical."
    Err "err" "Errors."
    Warning "warning" "Warnings."
    Notice "notice" "Normal, but significant."
    Info "info" "Informational."
    Debug "debug" "For debugging."
}

impl LogLevel {
    /// What OpenBSD once called some of them, and FreeBSD still does.
    pub const FORMER: [(&'static str, Self); 4] =
        [("none", Self::Crit), ("urgent", Self::Err), ("misc", Self::Notice), ("loud", Self::Debug)];

    /// The level that is or was called so.
    pub fn named(word: &str) -> Option<Self> {
        let known = Self::ALL.map(|level| (level.name(), level));
        known.into_iter().chain(Self::FORMER).find(|(name, _)| *name == word).map(|(_, level)| level)
    }
}
