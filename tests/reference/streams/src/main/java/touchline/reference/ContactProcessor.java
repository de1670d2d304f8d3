package touchline.reference;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The job, one instance per partition.
 *
 * <p>A message with a keyword sets 商机/考虑价格, once; three views within seven days set 兴趣/多次浏览, once; the first
 * tag arms three touches, each as one timer after the other; a paid order cancels those that have not come. Timers are fired
 * by stream time: a contact's own before its event, the others' by a punctuator.
 */
final class ContactProcessor implements Processor<byte[], byte[], byte[], byte[]> {
    static final String CONTACTS = "contacts";
    static final String TIMERS = "timers";
    static final String TAG_CHANGES = "tag-changes-sink";
    static final String TOUCHES = "touches-sink";

    private static final String[] KEYWORDS = {"价格", "价钱", "多少钱", "报价", "怎么收费"};
    private static final int VIEWS_NEEDED = 3;
    private static final long VIEWS_WINDOW_MS = Duration.ofDays(7).toMillis();
    private static final long[] TOUCH_DELAYS_MS = {
        Duration.ofHours(1).toMillis(), Duration.ofDays(1).toMillis(), Duration.ofDays(3).toMillis()
    };
    private static final Duration PUNCTUATE_EVERY = Duration.ofSeconds(1);
    /** Timers fired between two looks at the store, so that the list stays small. */
    private static final int FIRED_AT_ONCE_MAX = 4_096;

    private final boolean countViews;
    private final Progress progress;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> contacts;
    private KeyValueStore<Bytes, byte[]> timers;
    /** Everything due before it has fired: scans start here, not at the tombstones of what has fired. */
    private long firedUpToMs;

    ContactProcessor(boolean countViews, Progress progress) {
        this.countViews = countViews;
        this.progress = progress;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
        context = given;
        contacts = context.getStateStore(CONTACTS);
        timers = context.getStateStore(TIMERS);
        context.schedule(PUNCTUATE_EVERY, PunctuationType.STREAM_TIME, this::fireDue);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        progress.records.increment();
        EventView event = parse(record.value());
        if (record.key() == null || event.kind == EventView.Kind.NO_EVENT) {
            return;
        }
        Bytes key = Bytes.wrap(record.key());
        long clockMs = Math.max(context.currentStreamTimeMs(), record.timestamp());
        long atMs = Math.min(event.occurredAtMs, record.timestamp());
        byte[] known = contacts.get(key);
        Contact contact = known == null ? Contact.fresh(atMs) : Contact.decode(known);
        fireOwn(key, contact, clockMs);
        contact.lastSeenMs = Math.max(contact.lastSeenMs, atMs);
        switch (event.kind) {
            case MESSAGE_IN -> onMessage(key, contact, event, clockMs, atMs);
            case VIEW -> onView(key, contact, event, clockMs, atMs);
            case PAID -> cancel(key, contact, clockMs);
            default -> { }
        }
        contacts.put(key, contact.encode());
    }

    private void onMessage(Bytes key, Contact contact, EventView event, long clockMs, long atMs) {
        if (contact.asksPrice || !asksPrice(textOf(event))) {
            return;
        }
        contact.asksPrice = true;
        contact.anchorMs = atMs;
        sayTag(key, event, "商机", "考虑价格", clockMs, atMs);
        arm(key, contact, 1);
    }

    private void onView(Bytes key, Contact contact, EventView event, long clockMs, long atMs) {
        if (!countViews || contact.viewsOften) {
            return;
        }
        long[] recent = Arrays.stream(contact.viewsMs).filter(viewMs -> viewMs > atMs - VIEWS_WINDOW_MS).toArray();
        if (recent.length + 1 < VIEWS_NEEDED) {
            contact.viewsMs = Arrays.copyOf(recent, recent.length + 1);
            contact.viewsMs[recent.length] = atMs;
            return;
        }
        contact.viewsOften = true;
        contact.viewsMs = new long[0];
        sayTag(key, event, "兴趣", "多次浏览", clockMs, atMs);
    }

    private void cancel(Bytes key, Contact contact, long clockMs) {
        if (contact.nextTouch == 0) {
            return;
        }
        timers.delete(timerKey(contact.dueMs, key));
        for (int touch = contact.nextTouch; touch <= TOUCH_DELAYS_MS.length; touch++) {
            long dueMs = contact.anchorMs + TOUCH_DELAYS_MS[touch - 1];
            say(key, Outputs.touch(text(key), touch, "cancelled", clockMs, dueMs), clockMs, TOUCHES);
        }
        contact.nextTouch = 0;
    }

    private void arm(Bytes key, Contact contact, int touch) {
        if (touch > TOUCH_DELAYS_MS.length) {
            contact.nextTouch = 0;
            return;
        }
        contact.nextTouch = touch;
        contact.dueMs = contact.anchorMs + TOUCH_DELAYS_MS[touch - 1];
        timers.put(timerKey(contact.dueMs, key), new byte[0]);
        // An event may come late: its timer may lie where the scan has been.
        firedUpToMs = Math.min(firedUpToMs, contact.dueMs);
    }

    private void fireOwn(Bytes key, Contact contact, long clockMs) {
        while (contact.nextTouch != 0 && contact.dueMs <= clockMs) {
            timers.delete(timerKey(contact.dueMs, key));
            say(key, Outputs.touch(text(key), contact.nextTouch, "due", clockMs, contact.dueMs), clockMs, TOUCHES);
            arm(key, contact, contact.nextTouch + 1);
        }
    }

    /** Fires what is due at {@code clockMs}, in the order of due moments. */
    private void fireDue(long clockMs) {
        while (true) {
            List<Bytes> due = new ArrayList<>();
            try (KeyValueIterator<Bytes, byte[]> found = timers.range(moment(firedUpToMs), moment(clockMs + 1))) {
                while (found.hasNext() && due.size() < FIRED_AT_ONCE_MAX) {
                    due.add(found.next().key);
                }
            }
            if (due.isEmpty()) {
                firedUpToMs = clockMs;
                return;
            }
            for (Bytes timer : due) {
                firedUpToMs = Math.max(firedUpToMs, ByteBuffer.wrap(timer.get()).getLong());
                Bytes key = Bytes.wrap(Arrays.copyOfRange(timer.get(), Long.BYTES, timer.get().length));
                Contact contact = Contact.decode(contacts.get(key));
                fireOwn(key, contact, clockMs);
                contacts.put(key, contact.encode());
            }
        }
    }

    private void sayTag(Bytes key, EventView event, String group, String tag, long clockMs, long atMs) {
        var origin = context.recordMetadata().orElseThrow();
        var source = new Outputs.Source(origin.partition(), origin.offset());
        say(key, Outputs.tagChange(text(key), group, tag, clockMs, atMs, source, event.id), clockMs, TAG_CHANGES);
    }

    private void say(Bytes key, byte[] value, long clockMs, String sink) {
        progress.outputs.increment();
        context.forward(new Record<>(key.get(), value, clockMs), sink);
    }

    private static boolean asksPrice(String text) {
        if (text == null) {
            return false;
        }
        for (String keyword : KEYWORDS) {
            if (text.contains(keyword)) {
                return true;
            }
        }
        return false;
    }

    /** Sorts by due moment. */
    private static Bytes timerKey(long dueMs, Bytes key) {
        return Bytes.wrap(ByteBuffer.allocate(Long.BYTES + key.get().length).putLong(dueMs).put(key.get()).array());
    }

    private static Bytes moment(long ms) {
        return Bytes.wrap(ByteBuffer.allocate(Long.BYTES).putLong(ms).array());
    }

    private static String text(Bytes key) {
        return new String(key.get(), StandardCharsets.UTF_8);
    }

    private static EventView parse(byte[] value) {
        try {
            return EventView.parse(value);
        } catch (IOException error) {
            throw new IllegalStateException("not a LogRecord", error);
        }
    }

    private static String textOf(EventView event) {
        try {
            return event.text();
        } catch (IOException error) {
            throw new IllegalStateException("not a LogRecord", error);
        }
    }
}
