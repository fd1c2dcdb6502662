import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The independent producer: Kafka's own client, one JSON command per line in, one JSON answer per line out.
 *
 * Arguments: bootstrap, compression, transactional id (may be absent).
 */
public final class Writer {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Brokers may be away, and come back. */
    private static final int PATIENCE_MS = 300_000;

    private final KafkaProducer<byte[], byte[]> producer;

    private Writer(String[] args) {
        Properties properties = new Properties();
        properties.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        properties.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, args[1]);
        properties.put(ProducerConfig.LINGER_MS_CONFIG, "20");
        properties.put(ProducerConfig.BATCH_SIZE_CONFIG, "65536");
        properties.put(ProducerConfig.MAX_REQUEST_SIZE_CONFIG, String.valueOf(128 << 20));
        properties.put(ProducerConfig.BUFFER_MEMORY_CONFIG, String.valueOf(160 << 20));
        // Brokers before 0.11 cannot.
        properties.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, System.getProperty("idempotence", "true"));
        properties.put("delivery.timeout.ms", String.valueOf(PATIENCE_MS));
        properties.put(ProducerConfig.MAX_BLOCK_MS_CONFIG, String.valueOf(PATIENCE_MS));
        if (args.length > 2) properties.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, args[2]);
        producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        if (args.length > 2) producer.initTransactions();
    }

    public static void main(String[] args) throws Exception {
        Writer self = new Writer(args);
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                self.run(JSON.readTree(line), answer);
            } catch (ExecutionException failed) {
                answer.put("error", String.valueOf(failed.getCause()));
            } catch (Exception failed) {
                answer.put("error", String.valueOf(failed));
            }
            out.println(JSON.writeValueAsString(answer));
        }
        Runtime.getRuntime().halt(0);
    }

    private void run(JsonNode command, ObjectNode answer) throws Exception {
        switch (command.path("do").asText()) {
            case "send" -> send(command.path("records"), answer);
            case "begin" -> producer.beginTransaction();
            case "commit" -> producer.commitTransaction();
            case "abort" -> producer.abortTransaction();
            default -> throw new IllegalArgumentException("unknown command " + command);
        }
    }

    private void send(JsonNode records, ObjectNode answer) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : records) {
            Headers headers = new RecordHeaders();
            for (JsonNode header : record.path("headers")) {
                headers.add(new String(bytes(header.get(0)), StandardCharsets.UTF_8), bytes(header.get(1)));
            }
            JsonNode timestamp = record.path("timestamp");
            sent.add(producer.send(new Stamped(
                record.path("topic").asText(), record.path("partition").asInt(),
                timestamp.isNumber() ? timestamp.asLong() : null,
                bytes(record.get("key")), bytes(record.get("value")), headers)));
        }
        producer.flush();
        for (Future<RecordMetadata> one : sent) answer.withArray("offsets").add(one.get().offset());
    }

    /** The constructor alone refuses −1, which other clients write and brokers take. */
    private static final class Stamped extends ProducerRecord<byte[], byte[]> {
        private final Long stamp;

        Stamped(String topic, int partition, Long stamp, byte[] key, byte[] value, Headers headers) {
            super(topic, partition, stamp == null || stamp < 0 ? null : stamp, key, value, headers);
            this.stamp = stamp;
        }

        @Override
        public Long timestamp() {
            return stamp;
        }
    }

    private static byte[] bytes(JsonNode text) throws IOException {
        return text == null || text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }
}
