import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.utils.SecurityUtils;

/** A long-lived admin client: one JSON command per line in, one JSON answer per line out. */
public final class Admin {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final org.apache.kafka.clients.admin.Admin admin;

    private Admin(String bootstrap) {
        Properties properties = new Properties();
        properties.put(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        properties.put(AdminClientConfig.RETRY_BACKOFF_MS_CONFIG, "50");
        properties.put(AdminClientConfig.RECONNECT_BACKOFF_MS_CONFIG, "50");
        properties.put(AdminClientConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, "200");
        properties.put(AdminClientConfig.METADATA_MAX_AGE_CONFIG, "2000");
        admin = org.apache.kafka.clients.admin.Admin.create(properties);
    }

    public static void main(String[] args) throws Exception {
        Admin self = new Admin(args[0]);
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
        System.exit(0);
    }

    private void run(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.path("topic").asText();
        switch (command.path("do").asText()) {
            case "await" -> await(command.path("brokers").asInt());
            case "create" -> create(topic, command);
            case "delete" -> delete(topic);
            case "partitions" -> admin.createPartitions(
                Map.of(topic, NewPartitions.increaseTo(command.path("count").asInt()))).all().get();
            case "config" -> config(topic, command.path("configs"));
            case "truncate" -> admin.deleteRecords(Map.of(
                new TopicPartition(topic, command.path("partition").asInt()),
                RecordsToDelete.beforeOffset(command.path("before").asLong()))).all().get();
            case "configs" -> ownConfigs(topic, answer.putObject("configs"));
            case "grant" -> grant(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL), command);
            case "grant-transactions" -> grant(new ResourcePattern(ResourceType.TRANSACTIONAL_ID,
                command.path("prefix").asText(), PatternType.PREFIXED), command);
            case "ends" -> ends(topic, answer);
            case "allow" -> allow(topic, command.path("operations"));
            case "quota" -> quota(command.path("client").asText(), command.path("bytes"));
            case "topics" -> admin.listTopics().names().get().forEach(name -> answer.withArray("topics").add(name));
            case "leader" -> answer.put("leader", describe(topic).partitions()
                .get(command.path("partition").asInt()).leader().id());
            default -> throw new IllegalArgumentException("unknown command " + command);
        }
    }

    private void await(int brokers) throws Exception {
        while (admin.describeCluster().nodes().get().size() < brokers) Thread.sleep(20);
    }

    private void create(String topic, JsonNode command) throws Exception {
        Map<String, String> configs = new HashMap<>();
        command.path("configs").fields().forEachRemaining(e -> configs.put(e.getKey(), e.getValue().asText()));
        int partitions = command.path("partitions").asInt();
        admin.createTopics(List.of(new NewTopic(topic, Optional.of(partitions), Optional.empty())
            .configs(configs))).all().get();
        while (!led(topic, partitions)) Thread.sleep(10);
    }

    /** Whether every partition has a leader, so that a client's first request is answered. */
    private boolean led(String topic, int partitions) throws Exception {
        try {
            TopicDescription found = describe(topic);
            return found.partitions().size() == partitions
                && found.partitions().stream().allMatch(p -> p.leader() != null);
        } catch (ExecutionException notYet) {
            return false;
        }
    }

    private TopicDescription describe(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private void grant(ResourcePattern what, JsonNode command) throws Exception {
        AclOperation operation = AclOperation.valueOf(command.path("operation").asText());
        admin.createAcls(List.of(new AclBinding(
            what,
            new AccessControlEntry(command.path("principal").asText(), "*", operation,
                AclPermissionType.ALLOW)))).all().get();
    }

    private void delete(String topic) throws Exception {
        admin.deleteTopics(List.of(topic)).all().get();
        while (admin.listTopics().names().get().contains(topic)) Thread.sleep(10);
    }

    private void config(String topic, JsonNode configs) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        configs.fields().forEachRemaining(e -> changes.add(new AlterConfigOp(
            new ConfigEntry(e.getKey(), e.getValue().asText()),
            e.getValue().isNull() ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET)));
        admin.incrementalAlterConfigs(
            Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), changes)).all().get();
    }

    /** What was set for the topic itself. */
    private void ownConfigs(String topic, ObjectNode answer) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
            if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) answer.put(entry.name(), entry.value());
        }
    }

    /** Leaves those who come without credentials these rights on a topic; without any: all of them. */
    private void allow(String topic, JsonNode operations) throws Exception {
        ResourcePattern pattern = new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL);
        admin.deleteAcls(List.of(new AclBindingFilter(pattern.toFilter(), AccessControlEntryFilter.ANY))).all().get();
        List<AclBinding> bindings = new ArrayList<>();
        operations.forEach(operation -> bindings.add(new AclBinding(pattern, new AccessControlEntry(
            "User:ANONYMOUS", "*", SecurityUtils.operation(operation.asText()), AclPermissionType.ALLOW))));
        admin.createAcls(bindings).all().get();
    }

    /** Bounds what clients of this id may write a second; null takes the bound away. */
    private void quota(String client, JsonNode bytes) throws Exception {
        ClientQuotaEntity who = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, client));
        Double bound = bytes.isNull() ? null : Double.valueOf(bytes.asDouble());
        ClientQuotaAlteration.Op op = new ClientQuotaAlteration.Op("producer_byte_rate", bound);
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(who, List.of(op)))).all().get();
    }

    private void ends(String topic, ObjectNode answer) throws Exception {
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        describe(topic).partitions().forEach(p ->
            wanted.put(new TopicPartition(topic, p.partition()), OffsetSpec.latest()));
        for (IsolationLevel level : IsolationLevel.values()) {
            ObjectNode offsets = answer.putObject(level.toString());
            admin.listOffsets(wanted, new ListOffsetsOptions(level)).all().get()
                .forEach((partition, end) -> offsets.put(String.valueOf(partition.partition()), end.offset()));
        }
    }
}
