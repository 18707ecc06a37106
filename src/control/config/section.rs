//! The macros that declare the shape of the file: one declaration gives the struct, its reading and its JSON Schema.
//!
//! In: fields with their docs, types and defaults. Out: `Decode` and `Serialize`. A field without a default is required.

/// A map with fixed keys.
macro_rules! section {
    ($(#[doc = $doc:literal])* $name:ident { $( $(#[doc = $field_doc:literal])* $field:ident : $type:ty $(= $default:expr)? ),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub(crate) struct $name {
            $( $(#[doc = $field_doc])* pub(crate) $field: $type, )*
        }

        impl $crate::control::config::decode::Decode for $name {
            fn decode(node: &$crate::control::config::yaml::Node, problems: &mut $crate::control::config::problem::Problems) -> Option<Self> {
                let fields = $crate::control::config::decode::Fields::of(node, &[$($crate::control::config::decode::key(stringify!($field))),*], problems)?;
                $( let $field = fields.take::<$type>($crate::control::config::decode::key(stringify!($field)), section!(@default $($default)?), problems); )*
                Some($name { $( $field: $field?, )* })
            }

            fn schema() -> serde_json::Value {
                let fields = vec![$( $crate::control::config::decode::FieldSchema {
                    name: $crate::control::config::decode::key(stringify!($field)),
                    required: section!(@required $($default)?),
                    description: concat!($($field_doc),*),
                    schema: <$type as $crate::control::config::decode::Decode>::schema(),
                }, )*];
                $crate::control::config::decode::object_schema(concat!($($doc),*), fields)
            }
        }
    };
    (@default $default:expr) => { Some(|| $default) };
    (@default) => { $crate::control::config::decode::required() };
    (@required $default:expr) => { false };
    (@required) => { true };
}

/// One of a few words.
macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident { $( $variant:ident = $word:literal ),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub(crate) enum $name {
            $( #[serde(rename = $word)] $variant, )*
        }

        impl $crate::control::config::decode::Decode for $name {
            const LEAF: bool = true;

            fn decode(node: &$crate::control::config::yaml::Node, problems: &mut $crate::control::config::problem::Problems) -> Option<Self> {
                let word = $crate::control::config::decode::word(node, &[$($word),*], problems)?;
                match word.as_str() {
                    $( $word => Some($name::$variant), )*
                    _ => None,
                }
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }
    };
}

/// Sections all of whose fields have defaults.
macro_rules! all_default {
    ($($name:ident),*) => {
        $(impl Default for $name {
            fn default() -> Self {
                let empty = $crate::control::config::yaml::Node { mark: Default::default(), content: $crate::control::config::yaml::Content::Null };
                <Self as $crate::control::config::decode::Decode>::decode(&empty, &mut Default::default()).expect("every field has a default")
            }
        })*
    };
}
