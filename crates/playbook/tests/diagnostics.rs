//! Every code with the smallest playbook that gives it. `▸` marks where it must be located and is taken out first.

use std::collections::BTreeSet;
use touchline_model::command::PlaybookSource;
use touchline_model::directory::Directory;
use touchline_playbook::codes;
use touchline_playbook::compile::{BUNDLE_BYTES_MAX, compile, compile_beside, compile_with_warnings, playbook_id};
use touchline_playbook::diagnostic::{Diagnostic, render};
use touchline_playbook::directory;
use touchline_playbook::yaml;

/// Valid declarations that the snippets build on.
const BASE: &str = "\
playbook: p
events: {lesson.finished: {course: text, score: number, ok: bool, at: time}}
tag_groups:
  - {id: 商机, exclusive: true, tags: [沟通, 价格, 赢单]}
  - {id: 兴趣, tags: [红, 绿]}
keywords: {价格: {any: [多少钱]}}
boards: [{id: 看板, group: 商机, columns: [沟通, 价格]}]
";

/// Code and snippet. A snippet that declares no `playbook` is appended to [`BASE`].
const TABLE: &[(&str, &str)] = &[
    ("PB001", "playbook: p\nrules: [a\n▸"),
    ("PB004", "playbook: p\nrules: ▸&a []\n"),
    ("PB004", "playbook: ▸&a p\n"),
    ("PB004", "playbook: ▸!!str p\n"),
    ("PB004", "playbook: p\n▸---\nplaybook: q\n"),
    ("PB005", "rules:\n  - {id: r, trigger: order.paid, ▸wehn: tag(兴趣/红), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB005", "▸rulez: []\n"),
    (
        "PB005",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, touchpoint: dm, content: c, ▸then: []}]}\n",
    ),
    ("PB006", "rules: []\n▸rules: []\n"),
    ("PB007", "▸timezone: Asia/Shanghai\nplaybook_: p\n"),
    ("PB007", "rules:\n  - ▸{id: r, do: [{set_tag: 兴趣/红}]}\n"),
    ("PB007", "rules:\n  - {id: r, trigger: order.paid, do: ▸[]}\n"),
    ("PB007", "rules:\n  - {id: r, trigger: order.paid, do: [▸{}]}\n"),
    (
        "PB007",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, exit: ▸{}, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    ("PB007", "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: ▸[]}\n"),
    ("PB008", "rules: ▸5\n"),
    ("PB008", "rules:\n  - {id: r, trigger: ▸{a: b}, do: [{set_tag: 兴趣/红}]}\n"),
    ("PB008", "rules:\n  - {id: r, ▸trigger: , do: [{set_tag: 兴趣/红}]}\n"),
    ("PB008", "rules:\n  - {id: r, trigger: order.paid, do: [▸{set_tag: 兴趣/红, unset_tag: 兴趣/绿}]}\n"),
    ("PB009", "rules:\n  - {id: r, trigger: order.paid, do: [{set_tag: ▸兴趣}]}\n"),
    (
        "PB009",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, after: ▸5min, touchpoint: dm, content: c}]}\n",
    ),
    (
        "PB009",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, day: 1, at: ▸\"9:00\", touchpoint: dm, content: c}]}\n",
    ),
    (
        "PB009",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, day: ▸-1, at: \"09:00\", touchpoint: dm, content: c}]}\n",
    ),
    (
        "PB009",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, re_entry: ▸always, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    (
        "PB009",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, priority: ▸bord, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    ("PB009", "playbook: p\nkind: ▸playbok\n"),
    ("PB009", "playbook: p\nevents: {a.b: {c: ▸string}}\n"),
    ("PB009", "playbook: p\nkeywords: {k: {any: [多少], fold: [▸upper]}}\n"),
    (
        "PB009",
        "rules:\n  - {id: r, trigger: \"silence(order.paid, for=▸60, since=order.paid)\", do: [{set_tag: 兴趣/红}]}\n",
    ),
    ("PB010", "playbook: p\ntimezone: ▸Asia/Beijing\n"),
    ("PB011", "rules:\n  - {id: ▸a/b, trigger: order.paid, do: [{set_tag: 兴趣/红}]}\n"),
    ("PB011", "playbook: p\ntag_groups: [{id: g, tags: [a, ▸\"*\"]}]\n"),
    ("PB011", "playbook: p\ntag_groups: [{id: ▸\"\", tags: [a]}]\n"),
    (
        "PB012",
        "rules:\n  - {id: r, trigger: order.paid, do: [{set_tag: 兴趣/红}]}\n  - {id: ▸r, trigger: order.paid, do: [{set_tag: 兴趣/红}]}\n",
    ),
    ("PB012", "playbook: p\ntag_groups: [{id: g, tags: [a, ▸a]}]\n"),
    (
        "PB012",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, touchpoint: dm, content: c}, {id: ▸s, touchpoint: dm, content: d}]}\n",
    ),
    ("PB013", "playbook: p\ntag_groups: [{id: g, tags: [a]}, {id: ▸g, tags: [b]}]\n"),
    ("PB014", "playbook: p\ntag_groups: [{id: g, tags: [a]}]\nboards: [{id: b, group: ▸g}]\n"),
    (
        "PB015",
        "playbook: p\ntag_groups: [{id: g, exclusive: true, tags: [a]}]\nboards: [{id: b, group: g}, {id: c, group: ▸g}]\n",
    ),
    ("PB016", "playbook: p\nkeywords: {k: {any: [多少, ▸钱]}}\n"),
    ("PB016", "playbook: p\nkeywords: {k: {any: ▸[]}}\n"),
    ("PB016", "playbook: p\nkeywords: {k: {any: [多少, ▸\"  \"]}}\n"),
    ("PB016", "playbook: p\nkeywords: {k: {any: [▸\"\\u3000\\t\\n\"], fold: []}}\n"),
    ("PB016", "playbook: p\nkeywords: {k: {any: [▸\"\\u200b\\u200c\\u200d\\ufeff\\u2060\"]}}\n"),
    ("PB016", "playbook: p\nkeywords: {k: {any: [▸\"\\u200b \"], fold: []}}\n"),
    ("PB016", "playbook: p\nkeywords: {k: {any: [▸\"钱\\u200b\"]}}\n"),
    ("PB017", "rules:\n  - {id: r, trigger: order.paid, do: [{set_tag: 兴趣/▸蓝}]}\n"),
    ("PB017", "rules:\n  - {id: r, trigger: order.paid, do: [{set_tag: ▸兴致/红}]}\n"),
    ("PB017", "segments: {s: tag(商机/▸价钱)}\n"),
    ("PB017", "segments: {s: 'tag(\"▸商/价 格\")'}\n"),
    (
        "PB017",
        "playbook: p\ntag_groups: [{id: g, exclusive: true, tags: [a]}]\nboards: [{id: b, group: g, columns: [▸c]}]\n",
    ),
    ("PB017", "segments: {\"😀\": tag(商机/▸价钱)}\n"),
    ("PB017", "segments: {s: \"tag(商机/▸价钱)\"}\n"),
    ("PB017", "segments:\r\n  s: tag(商机/沟通)\r\n  t: tag(商机/▸价钱)\r\n"),
    ("PB018", "segments: {s: stage(▸看版) = 沟通}\n"),
    ("PB019", "segments: {s: stage(看板) = ▸赢单}\n"),
    ("PB019", "rules:\n  - {id: r, trigger: stage_left(看板/▸价钱), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB020", "segments: {s: not segment(▸t)}\n"),
    ("PB021", "rules:\n  - {id: r, trigger: chat.message(text has ▸价钱), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB022", "rules:\n  - {id: r, trigger: ▸chat.mesage, do: [{set_tag: 兴趣/红}]}\n"),
    ("PB023", "rules:\n  - {id: r, trigger: chat.message(▸directon=in), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB023", "rules:\n  - {id: r, trigger: lesson.finished(has ▸scor), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB023", "rules:\n  - {id: r, trigger: order.paid(▸any_line.skuu = c9), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: chat.message(direction=▸inn), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: chat.message(▸msg_type > 3), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: order.paid(paid_fen > ▸viel), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: lesson.finished(ok = ▸yes), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: lesson.finished(▸at = 2026-01-01), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: lesson.finished(at > ▸gestern), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: order.paid(▸lines = 3), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: order.paid(▸paid_fen has 价格), do: [{set_tag: 兴趣/红}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: order.paid(▸shop in 1..2), do: [{set_tag: 兴趣/红}]}\n"),
    (
        "PB025",
        "rules:\n  - ▸{id: a, trigger: tag_set(兴趣/红), do: [{set_tag: 兴趣/绿}]}\n  - {id: b, trigger: tag_set(兴趣/*), do: [{set_tag: 兴趣/红}]}\n",
    ),
    (
        "PB025",
        "rules:\n  - ▸{id: a, trigger: stage_left(看板/沟通), do: [{set_tag: 商机/沟通}]}\n  - {id: b, trigger: stage_entered(看板/沟通), do: [{set_tag: 商机/价格}]}\n",
    ),
    ("PB026", "segments: {a: ▸not segment(b), b: segment(a)}\n"),
    ("PB027", "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [▸{id: s, content: c}]}\n"),
    (
        "PB028",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, after: ▸1h, day: 1, at: \"09:00\", touchpoint: dm, content: c}]}\n",
    ),
    (
        "PB028",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, day: ▸1, touchpoint: dm, content: c}]}\n",
    ),
    ("PB029", "segments: {s: tag▸（兴趣/红）}\n"),
    ("PB030", "segments: {s: 'tag(▸\"兴趣/红)'}\n"),
    ("PB031", "segments: {s: tag(兴趣/红▸}\n"),
    ("PB031", "segments: {s: tag(兴趣/红 ▸色)}\n"),
    ("PB031", "segments: {s: tag(兴趣/红) ▸= true}\n"),
    ("PB031", "segments: {s: ▸红}\n"),
    ("PB031", "rules:\n  - {id: r, trigger: ▸orderpaid, do: [{set_tag: 兴趣/红}]}\n"),
    ("PB032", "segments: {s: tag(兴趣/红) and tag(兴趣/绿) ▸or tag(商机/价格)}\n"),
    ("PB033", "segments: {s: ▸tagg(兴趣/红)}\n"),
    ("PB034", "segments: {s: ▸tag_set(兴趣/红)}\n"),
    ("PB034", "segments: {s: ▸order.paid}\n"),
    ("PB034", "rules:\n  - {id: r, trigger: ▸tag(兴趣/红), do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB034", "segments: {s: ▸last(order.paid) > 3d}\n"),
    ("PB035", "rules:\n  - {id: r, trigger: \"▸silence(order.paid, for=60d)\", do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB035", "rules:\n  - {id: r, trigger: \"silence(order.paid, ▸fro=60d)\", do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB035", "segments:\n  s: count(order.paid, within=3d, ▸within=4d) > 3\n"),
    ("PB035", "segments: {s: \"none(order.paid, ▸since=contact.added)\"}\n"),
    ("PB035", "segments: {s: \"none(order.paid, ▸distinct=shop)\"}\n"),
    ("PB035", "segments: {s: \"sum(paid_fen, order.paid, ▸since=contact.added) >= 5\"}\n"),
    ("PB036", "rules:\n  - id: r\n    trigger: order.paid(shop = ▸${sku})\n    do: [{set_tag: 兴趣/绿}]\n"),
    ("PB036", "rules:\n  - id: ▸r-${x}\n    trigger: order.paid\n    do: [{set_tag: 兴趣/绿}]\n"),
    ("PB037", "rules:\n  - {id: r, trigger: reached(▸预计用完日-3d), do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB038", "playbook: p\nevents: {▸order.paid: {}}\n"),
    ("PB038", "playbook: p\nevents: {▸lesson: {}}\n"),
    ("PB039", "playbook: ▸q\n"),
    (
        "PB040",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, late: {grace: ▸7h}, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    ("PB042", "uses: [▸other@1]\n"),
    ("PB042", "uses: [▸p]\n"),
    ("PB043", "segments: {s: stage(▸看板) >= 价格}\n"),
    (
        "PB043",
        "playbook: p\ntag_groups: [{id: g, exclusive: true, ordered: true, tags: [a], off_ladder: [z]}]\nboards: [{id: b, group: g}]\nsegments: {s: stage(b) < ▸z}\n",
    ),
    (
        "PB043",
        "playbook: p\ntag_groups: [{id: g, exclusive: true, ordered: true, tags: [a, b]}]\nboards: [{id: c, group: g}]\nsegments: {s: stage(c) < ▸a}\n",
    ),
    ("PB043", "playbook: p\ntag_groups: [{id: g, tags: [a], ▸off_ladder: [b]}]\n"),
    ("PB043", "rules:\n  - {id: r, trigger: order.paid, do: [{set_tag: 商机/价格, allow: ▸backward}]}\n"),
    (
        "PB043",
        "playbook: p\ntag_groups: [{id: g, exclusive: true, tags: [a]}]\nboards: [{id: b, group: g, backward: ▸never}]\n",
    ),
    ("PB014", "playbook: p\ntag_groups: [{id: ▸g, ordered: true, tags: [a]}]\n"),
    ("PB005", "rules:\n  - {id: r, trigger: order.paid, do: [{unset_tag: 兴趣/红, allow: ▸backward}]}\n"),
    ("PB009", "playbook: p\ntag_groups: [{id: g, manual: ▸win, tags: [a]}]\n"),
    ("PB009", "playbook: p\nversion: ▸v1\n"),
    ("PB044", "rules:\n  - {id: r, ▸for_each: [], trigger: order.paid, do: [{set_tag: 兴趣/绿}]}\n"),
    (
        "PB044",
        "rules:\n  - {id: \"r-${x}\", for_each: [{x: a}, ▸{y: b}], trigger: \"order.paid(shop=${x}, source=${y})\", do: [{set_tag: 兴趣/绿}]}\n",
    ),
    ("PB044", "rules:\n  - {id: r, for_each: [▸{x: a}], trigger: order.paid, do: [{set_tag: 兴趣/绿}]}\n"),
    (
        "PB012",
        "rules:\n  - {id: ▸r, for_each: [{x: a}, {x: b}], trigger: \"order.paid(shop=${x})\", do: [{set_tag: 兴趣/绿}]}\n",
    ),
    (
        "PB017",
        "rules:\n  - {id: \"r-${x}\", for_each: [{x: 红}, {x: 黄}], trigger: order.paid, do: [{set_tag: ▸\"兴趣/${x}\"}]}\n",
    ),
    ("PB045", "segments: {s: attr(▸城市) = 杭州}\n"),
    ("PB045", "rules:\n  - {id: r, trigger: reached(▸预计用完日 - 3d), do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB045", "rules:\n  - {id: r, trigger: order.paid, do: [{set_attr: {▸a: b}}]}\n"),
    ("PB024", "attributes: {a: profile.b}\nrules:\n  - {id: r, trigger: order.paid, do: [{set_attr: {▸a: b}}]}\n"),
    ("PB024", "attributes: {a: {type: number}}\nrules:\n  - {id: r, trigger: order.paid, do: [{set_attr: {a: ▸b}}]}\n"),
    ("PB024", "attributes: {a: {type: number}}\nrules:\n  - {id: r, trigger: reached(▸a), do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB007", "attributes: {a: ▸{}}\n"),
    ("PB023", "attributes: {a: ▸b}\n"),
    ("PB009", "attributes: {a: {date_add: {from: ▸order.paid, days: 3}}}\n"),
    ("PB009", "attributes: {a: {date_add: {from: last(order.paid), days: ▸qty}}}\n"),
    (
        "PB023",
        "attributes: {a: {date_add: {from: last(order.paid), days: sum_lines(▸quantity * product.days_per_unit)}}}\n",
    ),
    ("PB024", "attributes: {a: {date_add: {from: last(chat.message), days: ▸sum_lines(qty)}}}\n"),
    ("PB034", "counters: {a: ▸none(order.paid)}\n"),
    ("PB046", "segments: {s: \"▸count(order.paid, within=3d) >= 65\"}\n"),
    ("PB046", "segments: {s: \"sum(paid_fen, order.paid, within=▸36h) >= 65\"}\n"),
    ("PB046", "segments: {s: \"sum(paid_fen, order.paid, within=▸731d) >= 65\"}\n"),
    ("PB035", "segments: {s: \"▸count(order.paid, within=3d, since=order.paid) >= 5\"}\n"),
    ("PB035", "segments: {s: \"sum(paid_fen, order.paid, ▸distinct=shop) >= 5\"}\n"),
    ("PB024", "segments: {s: \"sum(▸shop, order.paid) >= 5\"}\n"),
    ("PB023", "segments: {s: \"count(order.paid, distinct=▸session) >= 5\"}\n"),
    ("PB024", "segments: {s: ▸age(last(order.paid)) = 3d}\n"),
    ("PB009", "segments: {s: age(last(order.paid)) > ▸3}\n"),
    ("PB020", "rules:\n  - {id: r, trigger: segment_entered(▸s), do: [{set_tag: 兴趣/绿}]}\n"),
    (
        "PB025",
        "segments: {s: tag(兴趣/绿)}\nrules:\n  - ▸{id: r, trigger: segment_left(s), do: [{set_tag: 兴趣/绿}]}\n",
    ),
    ("PB048", "kind: ▸directory\nplaybook: p\n"),
    ("PB009", "rules:\n  - {id: r, trigger: order.paid, do: [{assign: {by: ▸rond_robin, pool: a}}]}\n"),
    ("PB007", "rules:\n  - {id: r, trigger: order.paid, do: [{assign: ▸{by: round_robin}}]}\n"),
    ("PB005", "rules:\n  - {id: r, trigger: order.paid, do: [{assign: {by: store, pool: ▸a}}]}\n"),
    ("PB007", "rules:\n  - {id: r, trigger: order.paid, do: [{handoff: ▸{sla: 1h}}]}\n"),
    ("PB009", "rules:\n  - {id: r, trigger: order.paid, do: [{handoff: {to: a, sla: ▸soon}}]}\n"),
    ("PB008", "rules:\n  - {id: r, trigger: order.paid, do: [▸{task: 拉群, set_tag: 兴趣/绿}]}\n"),
    ("PB012", "contents: [{id: c}, {id: ▸c}]\n"),
    ("PB009", "contents: [{id: c, links: ▸some}]\n"),
    ("PB017", "contents: [{id: c, eligible: tag(兴趣/▸蓝)}]\n"),
    ("PB024", "rules:\n  - {id: r, trigger: \"order.paid(▸any_line.product > A)\", do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB024", "rules:\n  - {id: r, trigger: \"group.joined(has ▸group_kind)\", do: [{set_tag: 兴趣/绿}]}\n"),
    ("PB050", "rules:\n  - ▸{id: r, trigger: [contact.added], do: [{assign: {by: store}}]}\n"),
    ("PB049", "rules:\n  - {id: r, trigger: \"replied(▸sop/p1)\", do: [{set_tag: 兴趣/绿}]}\n"),
    (
        "PB025",
        "attributes: {a: {type: time}}\nrules:\n  - ▸{id: r, trigger: reached(a), do: [{set_attr: {a: 2026-01-01}}]}\n",
    ),
    (
        "PB025",
        "attributes: {a: {type: number}}\nsegments: {s: attr(a) > 3}\nrules:\n  - ▸{id: r, trigger: segment_entered(s), do: [{set_attr: {a: 1}}]}\n",
    ),
    (
        "PB044",
        "rules:\n  - {id: \"r-${x}\", for_each: [{x: ▸\"${x}${x}\"}], trigger: order.paid, do: [{set_tag: 兴趣/绿}]}\n",
    ),
    ("PB008", "attributes: {a: ▸{months_since: profile.b, type: text}}\n"),
    ("PB011", "attributes: {▸profile.city: {type: text}}\n"),
    ("PB009", "attributes: {a: {date_add: {from: last(order.paid), days: ▸-9223372036854775808}}}\n"),
    (
        "PB009",
        "rules:\n  - {id: r, trigger: \"silence(order.paid, for=▸0d, since=order.paid)\", do: [{set_tag: 兴趣/绿}]}\n",
    ),
    ("PB005", "rules:\n  - {id: r, trigger: order.paid, do: [{task: 拉群, allow: ▸backward}]}\n"),
    ("PW001", "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, touchpoint: ▸dmm, content: c}]}\n"),
    (
        "PW002",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, day: 2, at: \"09:00\", touchpoint: dm, content: c}, ▸{id: t, day: 1, at: \"09:00\", touchpoint: dm, content: c}]}\n",
    ),
    (
        "PW003",
        "playbook: p\ntimezone: Europe/Berlin\njourneys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, day: 1, at: ▸\"02:30\", touchpoint: dm, content: c}]}\n",
    ),
    (
        "PW003",
        "playbook: p\ntimezone: Africa/Cairo\nattributes: {生日: profile.birthday}\nrules:\n  - {id: r, trigger: reached(▸生日 - 3d), do: [{task: 祝福}]}\n",
    ),
    (
        "PW003",
        "playbook: p\ntimezone: Africa/Cairo\nattributes: {首单: first(order.paid)}\nsegments: {老客: attr(首单) < ▸2026-04-24}\n",
    ),
    ("PW004", LONG_CHAIN),
    ("PW005", "rules:\n  - {id: r, trigger: order.paid(paid_fen in ▸200..100), do: [{set_tag: 兴趣/红}]}\n"),
    ("PW005", "attributes: {a: {type: number}}\nsegments: {s: attr(a) in ▸0.5..0.4}\n"),
    ("PW005", "segments: {s: count(order.paid) >= ▸-1}\n"),
    ("PW005", "segments: {s: count(order.paid) >= ▸0}\n"),
    ("PW005", "segments: {s: count(order.paid) > ▸-1}\n"),
    ("PW005", "segments: {s: count(order.paid) < ▸0}\n"),
    ("PW005", "segments: {s: count(order.paid) <= ▸-0.5}\n"),
    ("PW005", "segments: {s: count(order.paid) = ▸1.5}\n"),
    ("PW005", "segments: {s: count(order.paid) != ▸-1}\n"),
    ("PW005", "segments: {s: \"count(order.paid, within=3d) >= ▸1.5\"}\n"),
    ("PW005", "segments: {s: \"count(order.paid) in [1, ▸2.5]\"}\n"),
    ("PW005", "segments: {s: count(order.paid) in ▸1.2..1.8}\n"),
    ("PW005", "segments: {s: count(order.paid) in ▸-3..-1}\n"),
    ("PW005", "segments: {s: count(order.paid) in ▸0.5..2}\n"),
    ("PW005", "segments: {s: age(last(order.paid)) < ▸0d}\n"),
    ("PB009", "segments: {s: \"count(order.paid, within=▸0s) >= 1\"}\n"),
    ("PB009", "segments: {s: \"none(order.paid, within=▸0d)\"}\n"),
    (
        "PB009",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, touchpoint: dm, content: c}]}\nsegments: {s: \"replied(j/s, within=▸0h)\"}\n",
    ),
    ("NY001", "playbook: p\nkind: ▸policy\n"),
    ("NY013", "rules:\n  - {id: r, trigger: ▸replied(bc1), do: [{set_tag: 兴趣/绿}]}\n"),
    (
        "NY023",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, ▸tracks: {a: [{id: s, touchpoint: dm, content: c}]}}\n",
    ),
    (
        "NY024",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, day: 1, ▸at: [\"09:00\"], touchpoint: dm, content: c}]}\n",
    ),
    (
        "NY025",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, ▸wait_for: {trigger: order.paid, timeout: 3d}, then: [{id: t, touchpoint: dm, content: c}]}]}\n",
    ),
    (
        "NY026",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, touchpoint: dm, ▸choose: [{when: tag(兴趣/红), content: c}], else: {content: d}}]}\n",
    ),
    (
        "NY027",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, touchpoint: dm, ▸split: {A: {weight: 50, content: c}}}]}\n",
    ),
    (
        "NY028",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, ▸holdout: 10%, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    (
        "NY029",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, goal: {▸when: tag(兴趣/红)}, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    (
        "NY030",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, ▸backfill: from_now, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    (
        "NY031",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, ▸expect: {touches: 1}, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
    ("NY032", "▸broadcasts: [{id: b, audience: tag(兴趣/红)}]\n"),
    ("NY037", "segments: {s: \"count(▸handoff.created) >= 2\"}\n"),
    ("PB005", "metrics: [{id: m, count: order.paid, per: executor, ▸tagret: \"> 20\"}]\n"),
    ("PB007", "metrics: [▸{id: m, count: order.paid}]\n"),
    ("PB007", "metrics: [▸{id: m, per: executor}]\n"),
    ("PB008", "metrics: [{id: m, count: order.paid, per: ▸[]}]\n"),
    ("PB009", "metrics: [{id: m, count: order.paid, per: [executor, ▸calendar_mouth]}]\n"),
    ("PB009", "metrics: [{id: m, count: order.paid, per: [calendar_day, ▸calendar_month]}]\n"),
    ("PB009", "metrics: [{id: m, count: order.paid, per: [executor, ▸executor]}]\n"),
    ("PB012", "metrics: [{id: m, count: order.paid, per: executor}, {id: ▸m, count: order.paid, per: executor}]\n"),
    ("PB022", "metrics: [{id: m, count: ▸handoff.craeted, per: executor}]\n"),
    ("PB023", "metrics: [{id: m, count: handoff.created(▸pool=a), per: executor}]\n"),
    ("PB023", "metrics: [{id: m, count: handoff.created(▸channel=api), per: executor}]\n"),
    ("PB024", "metrics: [{id: m, count: order.paid, per: executor, target: \"> ▸many\"}]\n"),
    (
        "PB025",
        "rules:\n  - ▸{id: r, trigger: handoff.created(reason=a), do: [{handoff: {to: x, by: round_robin, sla: 1h, reason: a}}]}\n",
    ),
    ("PB031", "metrics: [{id: m, count: order.paid, per: executor, target: ▸20}]\n"),
    ("PB034", "metrics: [{id: m, count: ▸tag_set(兴趣/红), per: executor}]\n"),
    ("PB038", "events: {▸handoff.created: {}}\nplaybook: p\n"),
    (
        "NY035",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, ▸window: 2h, touchpoint: dm, content: c}]}\n",
    ),
    (
        "NY036",
        "journeys:\n  - {id: j, entry: {trigger: order.paid}, ▸mode: auto, steps: [{id: s, touchpoint: dm, content: c}]}\n",
    ),
];

#[test]
fn every_code_is_given_where_it_belongs() {
    let mut wrong = Vec::new();
    for (code, snippet) in TABLE {
        let marked = if snippet.contains("playbook") { (*snippet).to_owned() } else { format!("{BASE}{snippet}") };
        let before = marked.split('▸').next().expect("a first part");
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let found = all("p", &marked.replace('▸', ""));
        let places: Vec<(&str, usize, usize)> =
            found.iter().map(|d| (d.code, d.line as usize, d.column as usize)).collect();
        if places != [(*code, line, column)] {
            wrong.push(format!("{code} at {line}:{column} expected for\n{snippet}\nfound:\n{}\n", render(&found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Two are too large for a table, two need more than fits there, one is no text, one needs two playbooks, one stands only in requests;
    // those of names in the directory have a test of their own.
    let covered: BTreeSet<&str> = TABLE
        .iter()
        .map(|(code, _)| *code)
        .chain(["PB002", "PB003", "PB041", "PB047", "PB051", "PB099", "PW006", "PW007", "PW008", "PW009", "PW099"])
        .collect();
    let known: BTreeSet<&str> = codes::ALL.iter().map(|code| code.code).collect();
    assert_eq!(covered, known);
}

#[test]
fn several_problems_come_at_once_and_say_what_to_do() {
    let yaml = format!(
        "{BASE}rules:\n  - {{id: r, trigger: chat.mesage, when: tag(商机/价钱), do: [{{set_tag: 兴趣/红色}}]}}\nsegmants: {{}}\n"
    );
    let found = all("p", &yaml);
    let told: Vec<(&str, &str, Option<&str>)> =
        found.iter().map(|d| (d.code, d.path.as_str(), d.hint.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("PB022", "rules/r/trigger", Some("did you mean `chat.message`?")),
            ("PB017", "rules/r/when", Some("did you mean `价格`?")),
            ("PB017", "rules/r/do", Some("did you mean `红`?")),
            ("PB005", "", Some("did you mean `segments`?")),
        ]
    );
}

#[test]
fn hints_say_what_to_write() {
    let of_lines = "name a field of the event, as in sum(paid_fen, order.paid(any_line.sku = a1), within=30d); lines are summed up \
                    only for a date: `date_add: {from: last(order.paid), days: sum_lines(qty)}`";
    for (code, snippet, hint) in [
        ("PB023", "segments: {s: \"sum(any_line.qty, order.paid) > 10\"}\n", of_lines),
        ("PB023", "segments: {s: \"count(order.paid, distinct=any_line.sku) > 10\"}\n", of_lines),
        ("PB023", "segments: {s: \"sum(paid_fn, order.paid) > 10\"}\n", "did you mean `paid_fen`?"),
        ("PB010", "timezone: shanghai\n", "did you mean `Asia/Shanghai`?"),
        ("PB010", "timezone: asia/shanghai\n", "did you mean `Asia/Shanghai`?"),
        ("PB010", "timezone: Asia/Shangai\n", "did you mean `Asia/Shanghai`?"),
        ("PB010", "timezone: GMT+8\n", "use a name such as Asia/Shanghai"),
    ] {
        let found = all("p", &format!("{BASE}{snippet}"));
        let told: Vec<(&str, Option<&str>)> = found.iter().map(|d| (d.code, d.hint.as_deref())).collect();
        assert_eq!(told, [(code, Some(hint))], "{snippet}");
    }
}

#[test]
fn comparisons_that_depend_on_what_is_compared_are_not_warned_of() {
    for condition in [
        "count(order.paid) = 0",
        "count(order.paid) <= 0",
        "count(order.paid) > 0",
        "count(order.paid) != 0",
        "count(order.paid) in [0, 2]",
        "count(order.paid) in -1..3",
        "count(order.paid) in 2..2",
        "sum(paid_fen, order.paid) >= -1.5",
        "sum(paid_fen, order.paid) in -2..-1",
        "age(last(order.paid)) <= 0s",
    ] {
        let found = all("p", &format!("{BASE}segments: {{s: \"{condition}\"}}\n"));
        assert!(found.is_empty(), "{condition}: {}", render(&found));
    }
}

/// Nine rules, each but the first set off by the one before.
const LONG_CHAIN: &str = "playbook: p
tag_groups: [{id: 链, tags: [t1, t2, t3, t4, t5, t6, t7, t8, t9]}]
rules:
  - {id: r1, trigger: order.paid, do: [{set_tag: 链/t1}]}
  - {id: r2, trigger: tag_set(链/t1), do: [{set_tag: 链/t2}]}
  - {id: r3, trigger: tag_set(链/t2), do: [{set_tag: 链/t3}]}
  - {id: r4, trigger: tag_set(链/t3), do: [{set_tag: 链/t4}]}
  - {id: r5, trigger: tag_set(链/t4), do: [{set_tag: 链/t5}]}
  - {id: r6, trigger: tag_set(链/t5), do: [{set_tag: 链/t6}]}
  - {id: r7, trigger: tag_set(链/t6), do: [{set_tag: 链/t7}]}
  - {id: r8, trigger: tag_set(链/t7), do: [{set_tag: 链/t8}]}
  - ▸{id: r9, trigger: tag_set(链/t8), do: [{set_tag: 链/t9}]}
";

#[test]
fn chains_longer_than_a_record_has_rounds_are_warned_of() {
    let chain = LONG_CHAIN.replace('▸', "");
    let said = |yaml: &str| all("p", yaml).into_iter().map(|found| (found.path, found.message)).collect::<Vec<_>>();
    let message = |ids: &str| format!("this rule may not run: a record has 8 rounds, and {ids}");
    let last_eight = "r2 → r3 → r4 → r5 → r6 → r7 → r8 → r9";
    assert_eq!(said(&chain), [("rules/r9".to_owned(), message(&format!("r1 → {last_eight}")))]);
    // Eight rules are eight rounds, unless somebody sets the first tag by hand: that is one more.
    let eight = chain.replace("  - {id: r1, trigger: order.paid, do: [{set_tag: 链/t1}]}\n", "");
    assert_eq!(said(&eight), [("rules/r9".to_owned(), message(last_eight))]);
    assert_eq!(said(&eight.replace("tag_set(链/t1)", "order.paid")), []);
    // A shorter way to a rule does not help: it does not run again.
    assert_eq!(said(&chain.replace("tag_set(链/t8)", "[order.paid, tag_set(链/t8)]")).len(), 1);
    // What follows from the rule that comes too late is not said again.
    let ten = format!("{chain}  - {{id: r10, trigger: tag_set(链/t9), do: [{{task: 回访}}]}}\n");
    assert_eq!(said(&ten).len(), 1);
    // A date begins anew.
    let date =
        chain.replace("tag_set(链/t5)", "reached(到期)").replace("{set_tag: 链/t5}", "{set_attr: {到期: 2026-12-31}}");
    assert_eq!(said(&format!("{date}attributes: {{到期: {{type: time}}}}\n")), []);
}

#[test]
fn keywords_are_bounded() {
    // ㍿ is folded into four characters.
    for (keyword, fits) in
        [("字".repeat(100), true), ("字".repeat(101), false), ("字".repeat(170_000), false), ("㍿".repeat(26), false)]
    {
        let found = all("p", &format!("playbook: p\nkeywords: {{k: {{any: [多少, {keyword}]}}}}\n"));
        let found: Vec<_> = found.iter().map(|d| (d.code, d.line, d.column)).collect();
        assert_eq!(found, if fits { vec![] } else { vec![("PB016", 2, 26)] });
    }
}

#[test]
fn findings_stand_in_the_order_of_the_text_and_say_that_there_are_more() {
    let second = "playbook: q\nsegments: {s: tag(无/无)}\nattributes: {a: {type: txt}}\n";
    let rules = |wrong: usize| {
        let rule = |at: usize| format!("  - {{id: r{at}, trigger: oder.paid, do: [{{task: x}}]}}\n");
        format!("playbook: p\nrules:\n{}", (0..wrong).map(rule).collect::<String>())
    };
    let found = |wrong: usize| {
        let source = |id: &str, yaml: String| PlaybookSource { id: id.into(), yaml };
        let found = compile(&[source("p", rules(wrong)), source("q", second.into())], 1).expect_err("mistakes");
        found.into_iter().map(|one| (one.source_id, one.line, one.code)).collect::<Vec<_>>()
    };
    let mistakes = found(2);
    let places: Vec<(&str, u32)> = mistakes.iter().map(|(source, line, _)| (source.as_str(), *line)).collect();
    assert_eq!(places, [("p", 3), ("p", 4), ("q", 2), ("q", 3)]);
    assert_eq!(found(198).len(), 200);
    let more = found(199);
    assert_eq!((more.len(), more[200].2), (201, "PB099"));
    // Of warnings, too; what they are of does compile.
    let touchpoint = |at: usize| format!("{{id: s{at}, touchpoint: dmm, content: c}}");
    let steps = |count: usize| (0..count).map(touchpoint).collect::<Vec<String>>().join(", ");
    let warned = |count: usize| {
        all(
            "p",
            &format!("playbook: p\njourneys: [{{id: j, entry: {{trigger: order.paid}}, steps: [{}]}}]\n", steps(count)),
        )
    };
    assert_eq!(warned(100).len(), 100);
    assert_eq!(warned(101).iter().map(|found| found.code).collect::<Vec<_>>()[99..], ["PW001", "PW099"]);
}

#[test]
fn texts_for_staff_are_bounded() {
    let found = |text: &str, action: &str| {
        let action = action.replace('T', text);
        let yaml = format!("{BASE}rules:\n  - {{id: r, trigger: order.paid, do: [{action}]}}\n");
        all("p", &yaml).iter().map(|d| (d.code, d.column)).collect::<Vec<_>>()
    };
    let (most, more) = ("字".repeat(1_000), "字".repeat(1_001));
    for (action, column) in [("{task: T}", 46), ("{handoff: {to: a, reason: T}}", 65)] {
        assert_eq!(found(&most, action), []);
        assert_eq!(found(&more, action), [("PB009", column)], "{action}");
    }
}

#[test]
fn names_of_other_playbooks_need_uses() {
    let base = PlaybookSource { id: "p".into(), yaml: BASE.into() };
    let with = |yaml: &str| {
        let other = PlaybookSource { id: "q".into(), yaml: yaml.into() };
        let found = compile(&[base.clone(), other], 1).err().unwrap_or_default();
        found.iter().map(|d| (d.code, d.source_id.clone(), d.line, d.column)).collect::<Vec<_>>()
    };
    assert_eq!(with("playbook: q\nsegments: {s: tag(商机/价格)}\n"), [("PB041", "q".to_owned(), 2, 19)]);
    assert_eq!(with("playbook: q\nsegments: {s: stage(看板) = 价格}\n"), [("PB041", "q".to_owned(), 2, 21)]);
    assert_eq!(with("playbook: q\nuses: [p]\nsegments: {s: tag(商机/价格) and stage(看板) = 价格}\n"), []);
    assert_eq!(with("playbook: q\nuses: [p@1]\nsegments: {s: tag(商机/价格)}\n"), []);
    assert_eq!(with("playbook: q\nuses: [p@2]\n"), [("PB042", "q".to_owned(), 2, 8)]);
    let counted = "counters: {n: \"count(chat.message(text has 价格))\"}\n";
    assert_eq!(with(&format!("playbook: q\n{counted}")), [("PB041", "q".to_owned(), 2, 44)]);
    assert_eq!(with(&format!("playbook: q\nuses: [p]\n{counted}")), []);
    assert_eq!(with(&format!("playbook: q\n{}", counted.replace("价格", "价钱"))), [("PB021", "q".to_owned(), 2, 44)]);
    let keyword = "rules: [{id: r, trigger: \"chat.message(text has 价格)\", do: [{set_tag: 商机/价格}]}]\n";
    assert_eq!(with(&format!("playbook: q\nuses: [p]\n{keyword}")), []);
    assert_eq!(with("playbook: q\ntag_groups: [{id: 商机, tags: [a]}]\n"), [("PB013", "q".to_owned(), 2, 19)]);
    assert_eq!(with("playbook: q\nevents: {lesson.finished: {course: number}}\n"), [("PB038", "q".to_owned(), 1, 11)]);
    assert_eq!(with("playbook: q\nevents: {lesson.left: {course: number}}\n"), []);
    // Custom events, steps and contents too; a custom event may be declared twice.
    let step =
        "journeys: [{id: j, entry: {trigger: order.paid}, steps: [{id: s, after: 5m, touchpoint: dm, content: 册}]}]\n";
    let more = format!("playbook: p\nevents: {{a.b: {{}}}}\ncontents: [{{id: 册, match: {{product: A}}}}]\n{step}");
    let with_more = |yaml: &str| {
        let sources = [
            PlaybookSource { id: "p".into(), yaml: more.clone() },
            PlaybookSource { id: "q".into(), yaml: yaml.into() },
        ];
        let found = compile(&sources, 1).err().unwrap_or_default();
        found.iter().map(|d| (d.code, d.source_id.clone(), d.line, d.column)).collect::<Vec<_>>()
    };
    for (text, column) in [
        ("counters: {n: count(a.b)}\n", 21),
        ("segments: {n: \"count(content.viewed(content=册)) >= 1\"}\n", 45),
        ("segments: {n: \"replied(j/s, within=1d)\"}\n", 24),
        (
            "journeys: [{id: k, entry: {trigger: order.paid}, steps: [{id: s, after: 5m, touchpoint: dm, content: 册}]}]\n",
            102,
        ),
    ] {
        assert_eq!(with_more(&format!("playbook: q\n{text}")), [("PB041", "q".to_owned(), 2, column)], "{text}");
        assert_eq!(with_more(&format!("playbook: q\nuses: [p]\n{text}")), [], "{text}");
    }
    assert_eq!(with_more("playbook: q\nevents: {a.b: {}}\ncounters: {n: count(a.b)}\n"), []);
    let journey = "journeys: [{id: sop, entry: {trigger: order.paid}, steps: [{id: s, touchpoint: dm, content: c}]}]\n";
    let p = PlaybookSource { id: "p".into(), yaml: format!("playbook: p\n{journey}") };
    let q = PlaybookSource { id: "q".into(), yaml: format!("playbook: q\n{journey}") };
    let touches = compile(&[p.clone(), q.clone()], 1).expect_err("touch ids name the journey only");
    let found: Vec<_> = touches.iter().map(|d| (d.code, d.source_id.as_str(), d.line, d.column)).collect();
    assert_eq!(found, [("PB012", "q", 2, 17)]);
    let other = PlaybookSource { yaml: q.yaml.replace("sop", "sop-2"), ..q };
    assert!(compile(&[p, other], 1).is_ok());
    let twice = compile(&[base.clone(), base], 1).expect_err("the same playbook twice");
    assert_eq!(twice[0].code, "PB012");
}

#[test]
fn what_is_no_circle_is_not_refused() {
    for rules in [
        // One leads to the other and ends there.
        "[{id: a, trigger: tag_set(兴趣/红), do: [{set_tag: 兴趣/绿}]}, {id: b, trigger: tag_set(兴趣/绿), do: [{set_tag: 商机/价格}]}]",
        // Who left the column gets another one: the column is already left.
        "[{id: a, trigger: stage_left(看板/沟通), do: [{set_tag: 商机/价格}]}]",
    ] {
        let found = all("p", &format!("{BASE}rules: {rules}\n"));
        assert!(found.is_empty(), "{}", render(&found));
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let code = |yaml: &str| all("p", yaml).first().map(|d| d.code);
    assert_eq!(code(&format!("playbook: p\n#{}", "x".repeat(BUNDLE_BYTES_MAX))), Some("PB002"));
    assert_eq!(code(&format!("playbook: p\nrules: {}", "[".repeat(70))), Some("PB003"));
    assert_eq!(code(&format!("playbook: p\nrules: {}", "{a: ".repeat(70))), Some("PB003"));
    // Beyond that the YAML parser has a bound of its own.
    assert_eq!(code(&format!("playbook: p\nrules: {}", "[".repeat(200_000))), Some("PB001"));
    assert_eq!(code(&format!("playbook: p\n{}", "- ".repeat(1_000))).map(|code| code.starts_with("PB")), Some(true));
    let aliases = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    assert_eq!(code(aliases), Some("PB004"));

    // Segments double in size with every line; the whole must be refused long before it is built.
    let mut segments = "segments:\n  s0: tag(兴趣/红)\n".to_owned();
    for n in 1..40 {
        let before = n - 1;
        segments.push_str(&format!("  s{n}: segment(s{before}) or segment(s{before})\n"));
    }
    assert_eq!(code(&format!("{BASE}{segments}")), Some("PB003"));

    let mut chain = "segments:\n  s0: tag(兴趣/红)\n".to_owned();
    for n in 1..3_000 {
        chain.push_str(&format!("  s{n}: not segment(s{})\n", n - 1));
    }
    assert_eq!(code(&format!("{BASE}{chain}")), Some("PB003"));
}

#[test]
fn what_is_not_utf8_is_located() {
    for (bytes, line, column) in [
        (&b"playbook: p\r\n# \xe4\xb8\xad\xbc\xdb\n"[..], 2, 4),
        (b"\xff\xfep\0l\0", 1, 1),
        (b"playbook: \xe4\xb8", 1, 11),
    ] {
        let found = yaml::decode("p.yaml", bytes.to_vec()).expect_err("it is none");
        assert_eq!((found.code, found.line, found.column), ("PB051", line, column));
        assert_eq!(found.hint.as_deref(), Some("save it as UTF-8, not as GBK (ANSI) or UTF-16"));
    }
    assert_eq!(yaml::decode("p.yaml", "价格".into()), Ok("价格".to_owned()));
}

#[test]
fn a_playbook_says_its_own_id() {
    assert_eq!(playbook_id("playbook: 价格\nrules: 5\n"), Ok("价格".to_owned()));
    assert_eq!(playbook_id("rules: []\n").expect_err("none").first().map(|d| d.code), Some("PB007"));
    assert!(playbook_id("a: [").is_err());
}

#[test]
fn warnings_never_crowd_out_an_error() {
    let step = |n: usize| format!("{{id: s{n}, touchpoint: pigeon, content: c}}");
    let steps: Vec<String> = (0..500).map(step).collect();
    let journey = format!("journeys: [{{id: j, entry: {{trigger: order.paid}}, steps: [{}", steps.join(", "));
    let found = all("p", &format!("{BASE}{journey}]}}]\n"));
    assert_eq!(found.iter().map(|d| d.code).collect::<BTreeSet<_>>(), BTreeSet::from(["PW001", "PW099"]));
    let found = all("p", &format!("{BASE}{journey}, {{id: late, touchpoint: dm}}]}}]\n"));
    assert!(found.iter().any(|d| d.code == "PB027"));
}

#[test]
fn where_a_text_ends_too_early_is_inside_it() {
    for (text, line, column) in [("playbook: [p", 1, 13), ("playbook: p\nrules: [", 2, 9), ("playbook: 'p\n", 1, 11)] {
        let found = all("p", text);
        assert_eq!((found[0].code, found[0].line, found[0].column), ("PB001", line, column), "{text:?}");
    }
}

/// What the zone does on which day, and what is meant then; days worked out from the zones' rules.
#[test]
fn clock_times_that_a_day_does_not_have_once_are_warned_of() {
    let step = |zone: &str, at: &str| {
        let steps = format!("[{{id: s, day: 1, at: \"{at}\", touchpoint: dm, content: c}}]");
        let journey = format!("{{id: j, entry: {{trigger: order.paid}}, steps: {steps}}}");
        all("p", &format!("playbook: p\ntimezone: {zone}\njourneys: [{journey}]\n"))
    };
    for (zone, at) in [
        ("Asia/Shanghai", "02:30"),
        ("Asia/Shanghai", "00:00"),
        ("Europe/Berlin", "01:59"),
        ("Europe/Berlin", "03:00"),
        ("America/New_York", "00:30"),
        ("UTC", "02:30"),
    ] {
        assert!(step(zone, at).is_empty(), "{zone} {at}");
    }
    for (zone, at, message, hint) in [
        (
            "Europe/Berlin",
            "02:30",
            "02:30 does not exist in Europe/Berlin on 2026-03-29, and comes twice in Europe/Berlin on 2026-10-25",
            "there it means 03:30, of two the first is meant; other days are as usual",
        ),
        (
            "America/New_York",
            "01:15",
            "01:15 comes twice in America/New_York on 2026-11-01",
            "of two the first is meant; other days are as usual",
        ),
        (
            "Africa/Cairo",
            "23:30",
            "23:30 comes twice in Africa/Cairo on 2026-10-29",
            "of two the first is meant; other days are as usual",
        ),
    ] {
        let found = step(zone, at);
        let said: Vec<(&str, &str, Option<&str>)> =
            found.iter().map(|found| (found.code, found.message.as_str(), found.hint.as_deref())).collect();
        assert_eq!(said, [("PW003", message, Some(hint))]);
    }
    let date = |zone: &str, date: &str| {
        let segments = format!("attributes: {{首单: first(order.paid)}}\nsegments: {{老客: attr(首单) < {date}}}\n");
        all("p", &format!("playbook: p\ntimezone: {zone}\n{segments}"))
    };
    assert!(date("Africa/Cairo", "2026-04-25").is_empty());
    assert!(date("Europe/Berlin", "2026-03-29").is_empty());
    // A day begins at its first moment, so it is no error.
    let found = date("Africa/Cairo", "2026-04-24");
    assert_eq!(found[0].message, "00:00 does not exist in Africa/Cairo on 2026-04-24");
    assert_eq!(found[0].hint.as_deref(), Some("there it means 01:00; other days are as usual"));
}

/// Errors and warnings of one source.
fn all(id: &str, yaml: &str) -> Vec<Diagnostic> {
    match compile_with_warnings(&[PlaybookSource { id: id.into(), yaml: yaml.into() }], 1) {
        Ok((_, warnings)) => warnings,
        Err(found) => found,
    }
}

#[test]
fn names_that_the_directory_does_not_have_are_warned_of() {
    const YAML: &str = "playbook: p
tag_groups: [{id: g, tags: [a]}]
contents: [{id: c9, match: {product: 尿裤}}]
rules:
  - {id: r1, trigger: chat.message, do: [{handoff: {to: sale, reason: x}}]}
  - {id: r2, trigger: chat.message, do: [{assign: {by: round_robin, pool: sales}}]}
  - {id: r3, trigger: 'order.paid(any_line.product in [辅食, 奶瓶])', when: 'in_group(妈妈群) or in_group(wrX) or in_group(kind=闪购)', do: [{set_tag: g/a}]}
  - {id: r4, trigger: 'group.joined(group_kind = 妈妈)', do: [{assign: {by: round_robin, pool: dcc}}]}
journeys:
  - {id: j, entry: {trigger: order.paid}, steps: [{id: s, after: 1h, touchpoint: dm, content: c1}, {id: t, after: 2h, touchpoint: dm, content: c2}]}
";
    let warnings = |directory: &str| -> Vec<String> {
        let mut all = Directory::default();
        directory::parse(directory).expect("valid").into_iter().for_each(|entry| all.set(entry));
        let source = PlaybookSource { id: "p".into(), yaml: YAML.into() };
        let found = compile_beside(&[source], 1, &all).expect("valid").1;
        found.iter().map(|found| format!("{} {}:{} {:?}", found.code, found.line, found.column, found.hint)).collect()
    };
    let whole = "kind: directory
staff: [{staff: li, pools: [sales]}, {staff: old, pools: [dcc], active: false}]
groups: [{group: wr1, name: 妈妈群, kind: 妈妈}]
products: [{product: 辅食}]
contents: [{content: c1, text: 您好}]
";
    let expected = [
        "PW008 3:38 None",
        "PW006 5:57 Some(\"did you mean `sales`?\")",
        "PW008 7:60 None",
        "PW009 7:122 None",
        "PW006 8:94 None",
        "PW007 10:144 Some(\"did you mean `c1`?\")",
    ];
    assert_eq!(warnings(whole), expected);
    // What nothing is known of at all is said once.
    let load = "Some(\"touchline directory load\")";
    let once = ["PW008 3:38", "PW006 5:57", "PW009 7:83", "PW007 10:95"].map(|place| format!("{place} {load}"));
    assert_eq!(warnings("kind: directory\n"), once);
    let source = PlaybookSource { id: "p".into(), yaml: YAML.into() };
    assert_eq!(compile_with_warnings(&[source], 1).expect("valid").1, [], "nobody has asked");
}
