//! What Seawall makes of upstreams as they are, a file per theme. Each scenario turns a switch on top of every
//! preset that can show it; `over` names the filters and why they leave a preset out. All tripwires are armed.
//!
//! Which scenario of the field notes (`upstreams.md` 7.5) is held where, over which presets (of 24; 23 are
//! without faults by chance, 18 of those give tokens, 19 can know accounts, 21 redirect to stores, 22 tell by
//! HEAD what a tag points at):
//!
//! | scenario | held by | over |
//! |---|---|---|
//! | cold pull, warm pull, tag moved between HEAD and GET | `every` | all |
//! | 500 clients of one image, leader disconnects | `every` | all |
//! | 500 clients of 40 tags of one digest; a thousand of a stale tag | `freshness` | 23 |
//! | budget nearly spent, production and CI queue (reserve) | `limits`, `twelve_hours` | 23, Hub's |
//! | figures in every form; half units; forty at once | `limits` | 23 |
//! | window changes; figures vanish or appear | `windows` | 23 |
//! | foreign neighbours burn the bucket | `windows` | those without accounts |
//! | refused, then the window slides (no early GET) | `limits`, `refusals` (every wait, four forms) | 23 |
//! | abuse 429 with bare line feeds; microseconds; one a second | `refusals` | 23 |
//! | 429 of stores | `refusals` | stores |
//! | 429 and 5xx of the token service | `tokens` | tokens |
//! | account locked, wrong password, a pool of accounts | `credentials` | accounts |
//! | token ends during a long blob, before it is resumed, earlier than it says; revoked | `tokens` | tokens |
//! | token answers of every form, life and none; empty access | `tokens` | tokens |
//! | each challenge oddity; realms at strangers and inside | `challenges` | tokens |
//! | redirects inside | `upstream/tests/auth.rs`, `tests/it/upstream.rs` | - |
//! | names that resolve to addresses inside, or change (every dial is filtered) | `net/dial.rs` | - |
//! | signed address ends in the body, or on arrival | `bodies` | stores |
//! | one store corrupt, the other good | `bodies` | stores |
//! | range ignored or wrong; gzip claimed; page or nothing instead; one bit | `bodies` | 23 |
//! | short and long bodies | `upstream/tests/blobs.rs`, `tests/it/fill.rs` | - |
//! | upstream down, stale served, recovers | `every`; each kind of error: `freshness` | all; 23 |
//! | upstream late or dripping, with a deadline | `freshness`, `bodies` | 23 |
//! | what does not exist is asked for again; a tag taken away | `policies`, `freshness` | all; 23 |
//! | freshness as the operator chose it; a registry that fails is left alone | `policies` | all |
//! | alternate holds | `alternates` | public ones where HEAD tells |
//! | alternate lacks, corrupts, is down; nothing left at home | `alternates` | the same, steady |
//! | tokens of clouds at half of their life, with their services down; tokens in files rotated; throttled exchange | `clouds` | ECR's, ACR's, GAR's |
//! | helpers and plugins: run once for all, at half of what they say, each way to fail, for a path; `config.json` | `programs`, `rotation` | tokens, Basic |
//! | clients like containerd, dockerd, podman | `clients` | 23 |
//! | an answer in 25 s, whatever is asked and whatever fails | `in_time` | 23, accounts |
//! | one pull a second, for one who wants much and one who wants little | `fairness` | 23 |
//! | a private repository: one user has pulled it, another is denied | `private` | accounts, three ways to hide |
//! | a password rotated by a symlink under load, with and without grace | `rotation` | accounts |
//! | restart in the middle; clock jumps | `windows`, `across` | 23 |
//! | faults of all kinds by chance | `every` | all |
//!
//! Keys of issuers that are rotated, and floods of unknown ones, are held by `federation`. GOAWAY storms wait for a
//! simulator that speaks HTTP/2.

mod across;
mod alternates;
mod bodies;
mod challenges;
mod clients;
mod clouds;
mod credentials;
mod every;
mod fairness;
mod freshness;
mod in_time;
mod limits;
mod over;
mod policies;
mod private;
mod programs;
mod refusals;
mod rotation;
mod tokens;
mod twelve_hours;
mod warm;
mod windows;
