<?php
// A chat behind the gateway: who may connect, and what an event does. README.md says how to start it.
declare(strict_types=1);

const MAX_AGE_SECONDS = 300;

/** Only the gateway knows the secret. The signature is of the bytes that came, not of the JSON in them. */
function is_signed(string $header, string $body): bool
{
    if (!preg_match('/^t=(\d+),v1=([0-9a-f]{64})$/', $header, $parts)) {
        return false;
    }
    [, $time, $given] = $parts;
    $expected = hash_hmac('sha256', "$time.$body", getenv('BACKEND_SECRET'));
    return hash_equals($expected, $given) && abs(time() - (int) $time) <= MAX_AGE_SECONDS;
}

function answer(array $call): array
{
    return match ($call['type']) {
        'connect' => connect($call),
        'event' => match ($call['event']) {
            'say' => say($call, $call['args'][0] ?? null),
            'whisper' => whisper($call, $call['args'][0] ?? null, $call['args'][1] ?? null),
            default => fault('unknown_event'),
        },
        default => [],
    };
}

function connect(array $call): array
{
    $name = $call['auth']['name'] ?? null;
    if (!is_string($name) || trim($name) === '') {
        return ['refuse' => ['message' => 'a name is needed', 'data' => ['code' => 'no_name']]];
    }
    return [
        'user' => $name,
        'data' => ['said' => 0],
        'actions' => [['join' => ['lobby']], to_lobby($call, 'joined', $name)],
    ];
}

function say(array $call, mixed $text): array
{
    if (!is_string($text) || $text === '') {
        return fault('bad_text');
    }
    $said = $call['socket']['data']['said'] + 1;
    return [
        'ack' => [['ok' => true, 'said' => $said]],
        'data' => ['said' => $said],
        'actions' => [to_lobby($call, 'said', $call['socket']['user'], $text)],
    ];
}

function whisper(array $call, mixed $user, mixed $text): array
{
    if (!is_string($user) || !is_string($text)) {
        return fault('bad_text');
    }
    $emit = ['rooms' => ["\$user:$user"], 'event' => 'whispered', 'args' => [$call['socket']['user'], $text]];
    return ['ack' => [['ok' => true]], 'actions' => [['emit' => $emit]]];
}

function fault(string $code): array
{
    return ['ack' => [['ok' => false, 'error' => ['code' => $code]]]];
}

/** An event for everybody else in the lobby. */
function to_lobby(array $call, string $event, mixed ...$args): array
{
    return ['emit' => ['rooms' => ['lobby'], 'except' => [$call['socket']['id']], 'event' => $event, 'args' => $args]];
}

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/socket') {
    $body = file_get_contents('php://input');
    if (!is_signed($_SERVER['HTTP_GATEWAY_SIGNATURE'] ?? '', $body)) {
        http_response_code(401);
        return;
    }
    header('content-type: application/json');
    // An empty array is the empty list; a reply is an object.
    echo json_encode((object) answer(json_decode($body, true, flags: JSON_THROW_ON_ERROR)), JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);
} elseif ($path === '/') {
    header('content-type: text/html; charset=utf-8');
    readfile(__DIR__ . '/page.html');
} else {
    http_response_code(404);
}
