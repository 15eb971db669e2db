//! Why a state ends. The table below is the one definition of each reason: variant, word in events and exports, and the sentence
//! of the manual.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! removals {
    ($( $variant:ident $name:literal $doc:literal )*) => {
        /// Why a state was removed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Removal {
            $( #[doc = $doc] #[serde(rename = $name)] $variant, )*
        }

        impl Removal {
            /// Every reason.
            pub const ALL: [Self; [ $( $name, )* ].len()] = [ $( Self::$variant, )* ];

            /// Its word.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// One sentence for the manual.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }
    };
}

removals! {
    Expired "expired" "Nothing was seen for as long as its time-out."
    Closed "closed" "Likewise, after both ends had closed the connection."
    Killed "killed" "It was selected to be killed."
    Flushed "flushed" "It went with all others, or for `overload … flush`."
    Replaced "replaced" "A new connection took its place."
    Limit "limit" "There was no room for what it needs."
    Refused "refused" "What it was translated to is in use at another worker."
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
