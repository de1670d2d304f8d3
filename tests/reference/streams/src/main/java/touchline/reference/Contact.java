package touchline.reference;

import java.nio.ByteBuffer;

/** The state of one contact. As bytes: 35 fixed ones, then 8 per view that still counts. */
final class Contact {
    private static final int FIXED_BYTES = 1 + 1 + 8 + 8 + 8 + 8 + 1;
    private static final int ASKS_PRICE = 1;
    private static final int VIEWS_OFTEN = 2;

    boolean asksPrice;
    boolean viewsOften;
    /** The touch that comes next, from 1; 0: none is pending. */
    int nextTouch;
    /** When it is due, in milliseconds of stream time. */
    long dueMs;
    /** When the tag was set: what the delays are counted from. */
    long anchorMs;
    long firstSeenMs;
    long lastSeenMs;
    /** Event times of counted views, at most one less than what the tag needs. */
    long[] viewsMs = {};

    /** A contact seen for the first time. */
    static Contact fresh(long atMs) {
        Contact contact = new Contact();
        contact.firstSeenMs = atMs;
        contact.lastSeenMs = atMs;
        return contact;
    }

    /** What {@link #encode} made. */
    static Contact decode(byte[] bytes) {
        ByteBuffer in = ByteBuffer.wrap(bytes);
        Contact contact = new Contact();
        byte flags = in.get();
        contact.asksPrice = (flags & ASKS_PRICE) != 0;
        contact.viewsOften = (flags & VIEWS_OFTEN) != 0;
        contact.nextTouch = in.get();
        contact.dueMs = in.getLong();
        contact.anchorMs = in.getLong();
        contact.firstSeenMs = in.getLong();
        contact.lastSeenMs = in.getLong();
        contact.viewsMs = new long[in.get()];
        for (int index = 0; index < contact.viewsMs.length; index++) {
            contact.viewsMs[index] = in.getLong();
        }
        return contact;
    }

    /** The bytes kept in the store. */
    byte[] encode() {
        ByteBuffer out = ByteBuffer.allocate(FIXED_BYTES + 8 * viewsMs.length);
        out.put((byte) ((asksPrice ? ASKS_PRICE : 0) | (viewsOften ? VIEWS_OFTEN : 0)));
        out.put((byte) nextTouch).putLong(dueMs).putLong(anchorMs).putLong(firstSeenMs).putLong(lastSeenMs);
        out.put((byte) viewsMs.length);
        for (long viewMs : viewsMs) {
            out.putLong(viewMs);
        }
        return out.array();
    }
}
