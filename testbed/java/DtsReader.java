import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.serializer.SerializerFeature;
import com.aliyun.dts.subscribe.clients.record.DefaultUserRecord;
import com.aliyun.dts.subscribe.clients.record.RecordField;
import com.aliyun.dts.subscribe.clients.record.RecordSchema;
import com.aliyun.dts.subscribe.clients.record.RowImage;
import com.aliyun.dts.subscribe.clients.record.value.Value;
import com.aliyun.dts.subscribe.clients.recordgenerator.AvroDeserializer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;

/** What the official consumer SDK makes of a record: base64 values in, one JSON line each out. */
public final class DtsReader {
    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        // What the SDK prints must not mix with the answers.
        System.setOut(System.err);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> seen = new LinkedHashMap<>();
            try {
                read(Base64.getDecoder().decode(line), seen);
            } catch (Throwable failed) {
                StringWriter trace = new StringWriter();
                failed.printStackTrace(new PrintWriter(trace));
                seen.put("exception", trace.toString());
            }
            out.println(JSON.toJSONString(seen, SerializerFeature.WriteMapNullValue));
            out.flush();
        }
    }

    private static void read(byte[] bytes, Map<String, Object> seen) {
        DefaultUserRecord record = new DefaultUserRecord(
            new TopicPartition("t", 0), 0, new AvroDeserializer().deserialize(bytes), null);
        seen.put("operation", record.getOperationType().toString());
        RecordSchema schema = record.getSchema();
        if (schema == null) return;
        seen.put("database", schema.getDatabaseName().orElse(null));
        seen.put("schema", schema.getSchemaName().orElse(null));
        seen.put("table", schema.getTableName().orElse(null));
        List<Object> fields = new ArrayList<>();
        for (RecordField field : schema.getFields()) {
            Map<String, Object> each = new LinkedHashMap<>();
            each.put("name", field.getFieldName());
            each.put("type", field.getRawDataTypeNum());
            each.put("primary", field.isPrimary());
            each.put("unique", field.isUnique());
            fields.add(each);
        }
        seen.put("fields", fields);
        seen.put("before", image(record.getBeforeImage(), schema));
        seen.put("after", image(record.getAfterImage(), schema));
    }

    private static Map<String, Object> image(RowImage image, RecordSchema schema) {
        if (image == null) return null;
        Map<String, Object> values = new LinkedHashMap<>();
        for (RecordField field : schema.getFields()) {
            Value<?> value = image.getValue(field.getFieldName());
            Map<String, Object> shown = null;
            if (value != null) {
                shown = new LinkedHashMap<>();
                shown.put("kind", value.getType().toString());
                shown.put("text", value.toString());
            }
            values.put(field.getFieldName(), shown);
        }
        return values;
    }
}
