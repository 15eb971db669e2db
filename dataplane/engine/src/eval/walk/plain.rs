//! Walks of packets that begin connections, as long as no rule that is asked could do more than most do.
//!
//! Overview: such a walk ends, and has come to nothing, at the first rule in question that asks or does anything out of the
//! ordinary, whether it matches or not. A rule that gives the packet another end [at once](Translation::is_at_once) interrupts
//! it: the rules behind a `match` are asked about the packet as it is then. Ownership: the packet under way. Bounds: those of
//! other walks.

use std::sync::Arc;

use ruleset::{Action, StateMode};

use super::{Question, Walk};
use crate::eval::classify::Few;
use crate::eval::filter::Filter;
use crate::eval::{Matched, Root, RuleSlot, Tag};
use crate::translate::Translation;

/// A rule that lets a packet pass, keeps a state, and does nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainPass<'a> {
    /// By number.
    pub rule: u32,
    /// As [`Decision::ended_at`](crate::eval::Decision::ended_at).
    pub ended_at: usize,
    pub if_bound: bool,
    pub slot: &'a Arc<RuleSlot>,
}

/// Whether a walk has come to nothing because a rule that was asked could have done more than is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strays(pub bool);

impl Walk {
    /// The `match` rules that were met.
    pub(crate) const fn matched(&self) -> &Matched {
        &self.matched
    }
}

impl Root {
    /// The rule by which a packet that begins a connection passes with a state, if nothing else is to be done, and if no rule
    /// that was asked could have done more than decide. Nothing is changed.
    #[inline(always)]
    pub(crate) fn passes_plainly(&self, question: &Question<'_>) -> Option<PlainPass<'_>> {
        self.passes_or_strays(question).ok()
    }

    /// The same, and if there is none, whether it is because a rule that was asked could have done more.
    #[inline(always)]
    pub(crate) fn passes_or_strays(&self, question: &Question<'_>) -> Result<PlainPass<'_>, Strays> {
        let mut walk = Walk::of(Tag::default());
        self.visit::<false, true>(question, &mut walk, |rule, _| rule.plain);
        // A state remembers the `match` rules that its packet met.
        let passed = if walk.matched.is_empty() { self.passed(&walk) } else { None };
        passed.ok_or(Strays(walk.strays))
    }

    /// The rules in question of a packet that may be given another source, where they are few.
    #[inline(always)]
    pub(crate) fn few(&self, question: &Question<'_>) -> Option<Few> {
        if self.anchored { None } else { self.classifier.few(question) }
    }

    /// As [`Self::advance`], as long as no rule that is asked could do more than decide, or give the packet another end
    /// [at once](Translation::is_at_once).
    pub(crate) fn advance_turning(&self, question: &Question<'_>, walk: &mut Walk) -> Option<&Translation> {
        self.go_on::<true>(question, walk, |rule, _| rule.nearly_plain);
        self.turning(walk)
    }

    /// The same among a few rules, of which those are left that the walk has not met.
    #[inline(always)]
    pub(crate) fn advance_among_few(
        &self,
        few: &mut Few,
        question: &Question<'_>,
        walk: &mut Walk,
    ) -> Option<&Translation> {
        walk.translating = None;
        if walk.ended_at.is_none() {
            let is_meant = |rule: &Filter, _| rule.nearly_plain;
            // Why it ended is known to the walk.
            let _ = self.classifier.visit_few(few, question.packet, |number, order| {
                self.come_by::<false, false, true>((number, order), question, None, walk, &is_meant)
            });
        }
        self.turning(walk)
    }

    /// The translation that has interrupted a walk.
    #[inline(always)]
    pub(crate) fn turning(&self, walk: &Walk) -> Option<&Translation> {
        let number = walk.translating.filter(|_| !walk.strays)?;
        self.rules[number as usize].translation.as_deref()
    }

    /// What the rule asks for that decides where a walk has come to its end.
    #[inline(always)]
    pub(crate) fn deciding_translation(&self, walk: &Walk) -> Option<&Translation> {
        self.rules[walk.rule? as usize].translation.as_deref()
    }

    /// As [`Self::passes_plainly`], of a walk that has come to its end.
    #[inline(always)]
    pub(crate) fn passed(&self, walk: &Walk) -> Option<PlainPass<'_>> {
        let number = walk.rule.filter(|_| !walk.strays)?;
        let rule = &self.rules[number as usize];
        let passes = rule.action == Action::Pass && rule.state == StateMode::Keep && !rule.log.enabled;
        passes.then(|| PlainPass {
            rule: number,
            ended_at: walk.ended_at.map_or(self.rules.len(), |number| number as usize),
            if_bound: rule.if_bound,
            slot: &rule.slot,
        })
    }
}
