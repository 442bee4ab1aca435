//! Every path in some tokens: imports, expressions, types, and what stands inside macros.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One path as it stands in the source.
#[derive(Debug)]
pub(super) struct Use {
    /// Where it stands.
    pub(super) module: Vec<String>,
    pub(super) line: usize,
    /// As written.
    pub(super) written: Vec<String>,
    /// From the root of the crate; empty for paths that leave the crate or do not climb.
    pub(super) absolute: Vec<String>,
    /// True if the path starts at `crate` or climbs with `super`.
    rooted: bool,
}

impl Use {
    fn new(module: &[String], written: Vec<String>, line: usize) -> Self {
        let start = usize::from(written.len() > 1 && written[0] == "self");
        let climbs = written[start..]
            .iter()
            .take_while(|word| *word == "super")
            .count();
        let from_root = written[0] == "crate" && written.len() > 1;
        let absolute = if from_root {
            written[1..].to_vec()
        } else if climbs > 0 {
            let kept = &module[..module.len().saturating_sub(climbs)];
            kept.iter().chain(&written[start + climbs..]).cloned().collect()
        } else {
            Vec::new()
        };
        Self {
            module: module.to_vec(),
            line,
            written,
            absolute,
            rooted: from_root || climbs > 0,
        }
    }

    /// The top module the path leads to, if it is one of this crate's; the root itself counts as one that
    /// nobody may use, since everything can be reached from there.
    pub(super) fn target(&self) -> Option<String> {
        let whole = || "the whole crate".to_owned();
        self.rooted
            .then(|| match self.absolute.first().map(String::as_str) {
                None | Some("*" | "self") => whole(),
                Some(word) => word.to_owned(),
            })
    }
}

/// All paths in some tokens. Words that stand alone are paths of one word.
pub(super) fn uses(tokens: TokenStream, module: &[String]) -> Vec<Use> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [
                TokenTree::Ident(word),
                TokenTree::Ident(name),
                TokenTree::Group(body),
                ..,
            ] if word == "mod" => {
                let inner = [module, &[name.to_string()]].concat();
                found.extend(uses(body.stream(), &inner));
                at += 3;
            }
            [TokenTree::Ident(_), ..] => at = tree(&tokens, at, &[], module, &mut found),
            [TokenTree::Group(group), ..] => {
                found.extend(uses(group.stream(), module));
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// Reads one path, or one tree of a `use`, whose first word stands `at`. Returns where reading goes on.
fn tree(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    module: &[String],
    found: &mut Vec<Use>,
) -> usize {
    let mut words = prefix.to_vec();
    let line = tokens[at].span().start().line;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => words.push(word.to_string()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => words.push("*".to_owned()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                branches(group.stream(), &words, module, found);
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some(TokenTree::Punct(one)), Some(TokenTree::Punct(two)))
                if one.as_char() == ':' && two.as_char() == ':' =>
            {
                at += 2;
            }
            _ => break,
        }
    }
    // `crate` alone is only a visibility, unless it gets another name.
    if words == ["crate"] && matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "as") {
        words.push("self".to_owned());
    }
    found.push(Use::new(module, words, line));
    at
}

/// Reads the trees of a `use` group: `{a, b::c, *}`.
fn branches(group: TokenStream, prefix: &[String], module: &[String], found: &mut Vec<Use>) {
    let tokens: Vec<TokenTree> = group.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    for branch in tokens.split(is_comma).filter(|branch| !branch.is_empty()) {
        tree(branch, 0, prefix, module, found);
    }
}
