//! Rulesets by the paths of their anchors, and the one list that the dataplane evaluates.
//!
//! Overview: rules in braces are a ruleset below that of their anchor, as in pf: `anchor "a" { … }` makes `a`, braces
//! without a name make `_1`, `_2` and so on. [`Tree::flatten`] puts the rules of an anchor behind each of its calls.
//! Bounds: the list has as many rules as a ruleset may have, calls are 64 deep.

use std::collections::{BTreeMap, BTreeSet};

use ruleset::bounds;

use crate::config::{Anchor, Beside, Config, Entry, FullRule};
use crate::path;

/// The rulesets of all anchors; the main one's path is empty.
#[derive(Debug, Default)]
pub(crate) struct Tree<'a> {
    rulesets: BTreeMap<String, Vec<Node<'a>>>,
}

/// A rule, or the call of an anchor.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    /// The anchor that it calls, as a path from the one that it stands in.
    pub call: Option<String>,
    pub rule: &'a FullRule,
    /// The configuration that it is from, as [`Tree::put`] was told.
    pub config: usize,
}

/// A rule in the one list.
#[derive(Debug)]
pub(crate) struct Flat<'t, 'a> {
    pub node: &'t Node<'a>,
    /// The path of the anchor that it stands in.
    pub path: &'t str,
    /// The number of the first rule behind those in the anchor that it calls.
    pub end: Option<u32>,
}

/// All rules.
#[derive(Debug)]
pub(crate) struct Listed<'t, 'a> {
    /// In the order of their evaluation.
    pub list: Vec<Flat<'t, 'a>>,
    /// Those that no call leads to.
    pub idle: Vec<Flat<'t, 'a>>,
}

impl<'a> Tree<'a> {
    /// Puts what a configuration says into an anchor, in place of what was there, and of what was in braces below it.
    pub fn put(&mut self, config: &'a Config, number: usize, anchor: &str) {
        let anchor = path::normal(anchor);
        let private = |path: &String| path::below(path, &anchor).is_some_and(|rest| rest.starts_with('_'));
        self.rulesets.retain(|path, _| !private(path));
        let mut own = BTreeMap::from([(anchor.clone(), Vec::new())]);
        let mut braces = 0;
        collect(&mut own, number, &anchor, &config.entries, &mut braces);
        for (name, entries) in &config.loaded {
            collect(&mut own, number, &path::join(&anchor, name), entries, &mut braces);
        }
        for Beside { tree, anchor: name, entries } in &config.beside {
            let path = path::join(tree, &path::join(&anchor, name));
            own.entry(path.clone()).or_default();
            collect(&mut own, number, &path, entries, &mut braces);
        }
        // Calling an anchor makes it, empty; what it had before stays.
        for (path, nodes) in own {
            let replaced = path == anchor || !nodes.is_empty();
            let known = self.rulesets.entry(path).or_default();
            if replaced {
                *known = nodes;
            }
        }
    }

    /// Every path, with its rules.
    pub fn rulesets(&self) -> impl Iterator<Item = (&String, &Vec<Node<'a>>)> {
        self.rulesets.iter()
    }

    /// The rules in the order of their evaluation, those of an anchor behind each of its calls; and the rules that no call
    /// leads to.
    ///
    /// # Errors
    /// The call that leads in a circle, or too deep, or to more rules than a ruleset may have.
    pub fn flatten(&self) -> Result<Listed<'_, 'a>, (&Node<'a>, String)> {
        let (mut list, mut called) = (Vec::new(), BTreeSet::new());
        self.append("", &mut Vec::new(), &mut list, &mut called)?;
        let idle = self.rulesets.iter().filter(|(path, _)| !called.contains(path.as_str()));
        let flat = |path, node| Flat { node, path, end: None };
        let idle = idle.flat_map(|(path, nodes)| nodes.iter().map(move |node| flat(path, node))).collect();
        Ok(Listed { list, idle })
    }

    fn append<'t>(
        &'t self,
        path: &str,
        above: &mut Vec<&'t str>,
        list: &mut Vec<Flat<'t, 'a>>,
        called: &mut BTreeSet<&'t str>,
    ) -> Result<(), (&'t Node<'a>, String)> {
        let Some((path, nodes)) = self.rulesets.get_key_value(path) else { return Ok(()) };
        called.insert(path);
        above.push(path);
        for node in nodes {
            let at = list.len();
            list.push(Flat { node, path, end: None });
            let Some(call) = &node.call else { continue };
            let target = path::join(path, call);
            let targets = if path::is_wildcard(call) { self.children(&target) } else { vec![target] };
            for target in targets {
                if above.contains(&target.as_str()) {
                    return Err((node, format!("the anchor {target} is called by its own rules")));
                }
                if above.len() > bounds::DEPTH {
                    return Err((node, format!("anchors call each other more than {} deep", bounds::DEPTH)));
                }
                self.append(&target, above, list, called)?;
                if list.len() > bounds::RULES {
                    return Err((node, format!("anchors are called for more than {} rules", bounds::RULES)));
                }
            }
            list[at].end = Some(list.len() as u32);
        }
        above.pop();
        Ok(())
    }

    /// The paths of the anchors directly below one, in order.
    fn children(&self, path: &str) -> Vec<String> {
        let direct = |known: &&String| path::below(known, path).is_some_and(|rest| !rest.contains('/'));
        self.rulesets.keys().filter(direct).cloned().collect()
    }
}

fn collect<'a>(
    rulesets: &mut BTreeMap<String, Vec<Node<'a>>>,
    config: usize,
    path: &str,
    entries: &'a [Entry],
    braces: &mut usize,
) {
    let mut last: Option<&Anchor> = None;
    for entry in entries {
        let node = match entry {
            Entry::Rule(rule) => Node { call: None, rule, config },
            Entry::Anchor(anchor) => {
                // A statement with lists calls one anchor several times.
                let again = last.is_some_and(|last| anchor.is_called_again(last));
                last = Some(anchor);
                let call = anchor.name.clone().unwrap_or_else(|| {
                    *braces += 1;
                    format!("_{braces}")
                });
                let target = path::join(path, &call);
                if !path::is_wildcard(&call) {
                    above(rulesets, &target);
                }
                if !again {
                    collect(rulesets, config, &target, anchor.body.as_deref().unwrap_or_default(), braces);
                }
                Node { call: Some(call), rule: &anchor.gate, config }
            }
        };
        rulesets.entry(path.to_owned()).or_default().push(node);
    }
}

/// Makes an anchor with those above it.
fn above(rulesets: &mut BTreeMap<String, Vec<Node<'_>>>, path: &str) {
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        next = path::parent(&path);
        rulesets.entry(path).or_default();
    }
}
