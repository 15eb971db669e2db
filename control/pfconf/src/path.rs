//! Paths of anchors: names joined by `/`, without one in front.

/// The trees in which anchors' rules for FreeBSD's rulesets for translation are kept, by [`ruleset::Translating`].
pub(crate) const BESIDE: [&str; 3] = ["_nat", "_rdr", "_binat"];

/// The anchor whose tables the rules of a path mean: its own, or that of which they are kept beside.
pub fn owner(path: &str) -> &str {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if BESIDE.contains(&first) { rest } else { path }
}

/// A path without what says nothing: `/` in front and at the end, `/*` of a recursion.
pub(crate) fn normal(path: &str) -> String {
    let path = path.strip_suffix("/*").or(path.strip_suffix('*')).unwrap_or(path);
    path.trim_matches('/').to_owned()
}

/// The anchor that `call` means in a rule of `path`: `/x` from the top, `../x` from the anchor above.
pub(crate) fn join(path: &str, call: &str) -> String {
    let mut parts: Vec<&str> = match call.starts_with('/') {
        true => Vec::new(),
        false => path.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in call.split('/') {
        match part {
            "" | "*" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// True if a call is for all anchors below a path.
pub(crate) fn is_wildcard(call: &str) -> bool {
    call == "*" || call.ends_with("/*")
}

/// True for the names that braces without one get.
pub(crate) fn is_private(call: &str) -> bool {
    call.rsplit('/').next().is_some_and(|last| last.starts_with('_'))
}

/// What is printed behind `anchor`.
pub(crate) fn printed(call: &str) -> Option<&str> {
    let beside = BESIDE.iter().find_map(|tree| call.strip_prefix('/')?.strip_prefix(tree)?.strip_prefix('/'));
    beside.or_else(|| (!is_private(call)).then_some(call))
}

/// What stands behind an anchor's path in that of an anchor below it.
pub(crate) fn below<'a>(path: &'a str, anchor: &str) -> Option<&'a str> {
    match anchor {
        "" => (!path.is_empty()).then_some(path),
        _ => path.strip_prefix(anchor)?.strip_prefix('/'),
    }
}

/// The path of the anchor above.
pub(crate) fn parent(path: &str) -> Option<String> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    (!path.is_empty()).then(|| parent.to_owned())
}
