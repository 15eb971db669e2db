//! One table for each set of tunables: variant, name in pf.conf(5), default, and a sentence for the manual. Everything else
//! about the set follows from it.

/// Declares the names of a set of tunables, and a value for each of them.
macro_rules! tunables {
    (
        $(#[$names_doc:meta])* $Names:ident,
        $(#[$unknown_doc:meta])* $Unknown:ident,
        $(#[$values_doc:meta])* $Values:ident,
        $(#[$count_doc:meta])* $vis:vis $COUNT:ident;
        $( $variant:ident $name:literal $default:literal $doc:literal )*
    ) => {
        $(#[$names_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum $Names {
            $( #[doc = $doc] $variant, )*
        }

        $(#[$count_doc])*
        $vis const $COUNT: usize = [ $( $name, )* ].len();

        impl $Names {
            /// Every one, in the order in which pfctl prints them.
            pub const ALL: [Self; $COUNT] = [ $( Self::$variant, )* ];

            /// The name in pf.conf(5).
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The default, in the set's unit.
            pub const fn default_value(self) -> u32 {
                match self { $( Self::$variant => $default, )* }
            }

            /// One sentence for the manual.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }

        impl core::fmt::Display for $Names {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }

        $(#[$unknown_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $Unknown;

        impl core::str::FromStr for $Names {
            type Err = $Unknown;

            fn from_str(name: &str) -> Result<Self, $Unknown> {
                Self::ALL.into_iter().find(|one| one.name() == name).ok_or($Unknown)
            }
        }

        $(#[$values_doc])*
        ///
        /// Where people read it, it is written by name, and what is not named has its default.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $Values([u32; $COUNT]);

        impl serde::Serialize for $Values {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if !serializer.is_human_readable() {
                    return self.0.serialize(serializer);
                }
                serializer.collect_map($Names::ALL.into_iter().map(|one| (one.name(), self.get(one))))
            }
        }

        impl<'de> serde::Deserialize<'de> for $Values {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return <[u32; $COUNT]>::deserialize(deserializer).map(Self);
                }
                let mut values = Self::default();
                for (name, value) in std::collections::BTreeMap::<String, u32>::deserialize(deserializer)? {
                    let unknown = |$Unknown| serde::de::Error::custom(format!("unknown name '{name}'"));
                    values.set(name.parse().map_err(unknown)?, value);
                }
                Ok(values)
            }
        }

        impl Default for $Values {
            fn default() -> Self {
                Self($Names::ALL.map($Names::default_value))
            }
        }

        impl $Values {
            /// The value of one of them.
            #[inline]
            pub const fn get(&self, which: $Names) -> u32 {
                self.0[which as usize]
            }

            /// Sets the value of one of them.
            pub const fn set(&mut self, which: $Names, value: u32) {
                self.0[which as usize] = value;
            }
        }
    };
}

pub(crate) use tunables;
