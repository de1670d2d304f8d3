//! Keys of journeys and of their steps.

use super::*;

pub(crate) static JOURNEY: Keys = Keys {
    name: "journey",
    about: "Touches in order, for whoever enters.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, ID, "新客").required(),
        key("entry", Holds::Keys(&ENTRY), "Who enters.", "{trigger: stage_entered(商机看板/考虑价格)}").required(),
        key("exit", Holds::Keys(&EXIT), "Who leaves, at once.", "{trigger: order.paid}"),
        key(
            "goal",
            Holds::Keys(&GOAL),
            "What it is for; whoever reaches it leaves.",
            "{trigger: order.paid, within: 14d}",
        ),
        key(
            "re_entry",
            Holds::Either(&[Holds::Words(&["never"]), Holds::Keys(&RE_ENTRY)]),
            "Whether one may enter again.",
            "{after_exit: 30d}",
        )
        .default("never"),
        key("late", Holds::Keys(&LATE), "What becomes of a step whose moment has passed.", "{grace: 2h, then: skip}")
            .default("{grace: 6h, then: skip}"),
        key(
            "priority",
            Holds::Words(&PRIORITIES),
            "Between touches due at one moment; checked, not yet followed.",
            "board",
        ),
        key("steps", STEPS, "The touches, one after another.", "[{id: t1, after: 2h, touchpoint: dm, content: 感谢}]")
            .required()
            .unless(&["tracks"]),
        key(
            "backfill",
            Holds::Words(&BACKFILLS),
            "What becomes of those who did it before; not yet other than `none`.",
            "none",
        )
        .default("none"),
        key("holdout", Holds::Anything, "A share that gets nothing, to compare with.", "10%")
            .not_yet(codes::NY_HOLDOUT),
        key("mode", Holds::Anything, "Whether staff confirms.", "confirm").not_yet(codes::NY_MODE),
        key(
            "tracks",
            Holds::Named(&STEPS),
            "Steps side by side.",
            "{dm: [{id: t2, after: 1h, touchpoint: dm, content: 感谢}]}",
        )
        .not_yet(codes::NY_TRACKS),
        key("expect", Holds::Anything, "How many touches it comes to.", "{touches: 1}").not_yet(codes::NY_EXPECT),
    ],
};

pub(crate) static ENTRY: Keys = Keys {
    name: "entry",
    about: "Who enters a journey.",
    count: Count::Any,
    keys: &[
        key("trigger", TRIGGERS, "What makes one enter.", "stage_entered(商机看板/考虑价格)").required(),
        key("when", Holds::Condition, "What must hold then.", "not tag(身份/老板)"),
    ],
};

pub(crate) static EXIT: Keys = Keys {
    name: "exit",
    about: "Who leaves a journey: by something that happens, by something that holds, or either.",
    count: Count::Some,
    keys: &[
        key("trigger", TRIGGERS, "What makes one leave.", "[stage_left(商机看板/考虑价格), order.paid]"),
        key("when", Holds::Condition, "What must not hold; whoever it is true of does not enter.", "tag(商机/赢单)"),
    ],
};

pub(crate) static GOAL: Keys = Keys {
    name: "goal",
    about: "What a journey is for.",
    count: Count::Any,
    keys: &[
        key("trigger", TRIGGERS, "What reaches it.", "order.paid").required().unless(&["when"]),
        key("within", Holds::Span, "How long after the entry it counts.", "14d"),
        key("when", Holds::Condition, "What reaches it by holding.", "tag(商机/赢单)").not_yet(codes::NY_GOAL_WHEN),
    ],
};

pub(crate) static RE_ENTRY: Keys = Keys {
    name: "re_entry",
    about: "When one may enter again: one of these.",
    count: Count::One,
    keys: &[
        key("after_exit", Holds::Span, "So long after the exit.", "30d"),
        key("each", Holds::Words(&["entry"]), "Each time; a round that still runs ends.", "entry"),
    ],
};

pub(crate) static LATE: Keys = Keys {
    name: "late",
    about: "What becomes of a step whose moment has passed when its turn comes.",
    count: Count::Any,
    keys: &[
        key("grace", Holds::Span, "So late it still falls due; at most 6h.", "2h").default("6h"),
        key("then", Holds::Words(&["skip"]), "What becomes of it after that.", "skip").default("skip"),
    ],
};

pub(crate) static STEP: Keys = Keys {
    name: "step",
    about: "One touch. Without a time it follows at once.",
    count: Count::Any,
    keys: &[
        key("id", Holds::Id, "Its id, in the journey. The touch is named by it.", "t1").required(),
        key("after", Holds::Span, "So long after the step before, or after the entry.", "2h"),
        key("day", Holds::Whole(0, DAY_MAX as i64), "So many calendar days after the entry's day.", "3").with(&["at"]),
        key(
            "at",
            Holds::Either(&[Holds::Clock, Holds::List(&Holds::Anything, 0)]),
            "The clock time on that day, in the playbook's zone; in an hour that a change of the clocks skips: as much \
             later as it skips; in one that comes twice: the first time. A list: not yet.",
            "\"09:30\"",
        )
        .with(&["day"]),
        key("when", Holds::Condition, "What must hold when it is due, else it is skipped.", "tag(商机/考虑价格)"),
        key("touchpoint", Holds::Suggested(&TOUCHPOINTS), "Where it is sent.", "moments")
            .required()
            .unless(&STEP_PARTS_NOT_YET),
        key("content", Holds::Id, "What is sent.", "案例圈").required().unless(&STEP_PARTS_NOT_YET),
        key("every", Holds::Anything, "Repeated so often.", "14d").not_yet(codes::NY_REPEAT),
        key("count", Holds::Anything, "Repeated so many times.", "6").not_yet(codes::NY_REPEAT),
        key("content_series", Holds::Anything, "A content each time.", "故事[1..6]").not_yet(codes::NY_REPEAT),
        key("split", Holds::Anything, "Contents by shares.", "{A: {weight: 50, content: 甲}}").not_yet(codes::NY_SPLIT),
        key("wait_for", Holds::Keys(&WAIT_FOR), "Waits for something to happen.", "{trigger: order.paid, timeout: 3d}")
            .not_yet(codes::NY_WAIT_FOR),
        key(
            "choose",
            Holds::List(&Holds::Keys(&CHOICE), 0),
            "The first that holds.",
            "[{when: tag(身份/老板), content: 甲}]",
        )
        .not_yet(codes::NY_CHOOSE),
        key(
            "then",
            Holds::List(&Holds::Keys(&STEP), 1),
            "Steps when what was waited for came.",
            "[{id: t3, touchpoint: dm, content: 甲}]",
        )
        .with(&["wait_for"])
        .not_yet(codes::NY_WAIT_FOR),
        key(
            "else",
            Holds::Either(&[Holds::List(&Holds::Keys(&STEP), 1), Holds::Keys(&CHOICE)]),
            "Steps when it did not come; or what is sent when nothing of `choose` holds.",
            "[{id: t4, touchpoint: dm, content: 乙}]",
        )
        .with(&["wait_for"])
        .not_yet(codes::NY_WAIT_FOR),
        key("from", Holds::Anything, "Counts `after` from the sending of a step.", "sent(p1)")
            .not_yet(codes::NY_STEP_TIME),
        key("window", Holds::Anything, "Latest start after due.", "2h").not_yet(codes::NY_STEP_TIME),
        key("min_gap", Holds::Anything, "Moves the step to the next day.", "20h").not_yet(codes::NY_STEP_TIME),
        key("late", Holds::Anything, "As of the journey, for this step.", "{grace: 1h}").not_yet(codes::NY_STEP_TIME),
        key("mode", Holds::Anything, "As of the journey, for this step.", "confirm").not_yet(codes::NY_MODE),
    ],
};

pub(crate) static WAIT_FOR: Keys = Keys {
    name: "wait_for",
    about: "What a step waits for.",
    count: Count::Any,
    keys: &[
        key("trigger", TRIGGERS, "What is waited for.", "order.paid").required(),
        key("timeout", Holds::Span, "How long.", "3d"),
    ],
};

pub(crate) static CHOICE: Keys = Keys {
    name: "choice",
    about: "One of the ways of `choose`.",
    count: Count::Any,
    keys: &[
        key("when", Holds::Condition, "When it is taken.", "tag(身份/老板)"),
        key("touchpoint", Holds::Text, "Where it is sent.", "dm"),
        key("content", Holds::Text, "What is sent.", "新客券"),
    ],
};
