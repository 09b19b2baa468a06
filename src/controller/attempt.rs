//! From a smoke probe of a spec to what one attempt checks.

use std::time::Duration;

use crate::api::{DrainMetric, Expect, HttpAction, NoData, Prometheus, Scheme, SmokeProbe};
use crate::probe::{self, Check, Empty, Endpoint, HttpCheck, Number, Query, Question, Series, Webhook};
use crate::release::action::ProbeRun;

/// What one attempt of a smoke probe checks.
pub fn check(probe: &SmokeProbe) -> Check {
    if let Some(http) = probe.http() {
        return Check::Http(http_check(&http));
    }
    match &probe.grpc {
        Some(grpc) => Check::Grpc { service: grpc.service.clone(), tls: grpc.tls },
        None => Check::Tcp,
    }
}

/// What one attempt of a probe asks, and whom, if that is no pod.
pub fn question(run: &ProbeRun) -> Option<Question> {
    if let Some(asked) = &run.probe.webhook {
        let body = run.body.clone().unwrap_or_default();
        return Some(Question::Webhook(Webhook { endpoint: Endpoint::parse(&asked.url).ok()?, body, expect: expect(&asked.expect) }));
    }
    query(&run.probe).map(Question::Query)
}

fn query(probe: &SmokeProbe) -> Option<Query> {
    let Prometheus { url, query, at_most, at_least, no_data } = probe.prometheus.as_ref()?;
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    Some(Query {
        endpoint: Endpoint::parse(url).ok()?,
        text: query.clone(),
        at_most: number(at_most),
        at_least: number(at_least),
        no_data: match no_data {
            NoData::Wait => Empty::Wait,
            NoData::Pass => Empty::Pass,
            NoData::Fail => Empty::Fail,
        },
    })
}

/// Where a pod's number stands; `None` where that can't be read.
pub fn number(metric: &DrainMetric) -> Option<Number> {
    match (&metric.series, &metric.json_pointer) {
        (Some(series), _) => Series::parse(series).ok().map(Number::Series),
        (None, Some(pointer)) => Some(Number::Json(pointer.clone())),
        (None, None) => None,
    }
}

fn http_check(http: &HttpAction<'_>) -> HttpCheck {
    let (host, headers): (Vec<_>, Vec<_>) = http.headers.iter().partition(|header| header.name.eq_ignore_ascii_case("host"));
    HttpCheck {
        method: http.body.map_or(probe::Method::Get, |body| probe::Method::Post(body.to_owned())),
        scheme: match http.scheme {
            Scheme::Http => probe::Scheme::Http,
            Scheme::Https => probe::Scheme::Https,
        },
        host: host.first().map(|header| header.value.clone()).unwrap_or_default(),
        path: http.path.to_owned(),
        headers: headers.into_iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
        expect: expect(http.expect),
    }
}

fn expect(expect: &Expect) -> probe::Expect {
    probe::Expect {
        status: expect.status.iter().filter_map(|status| u16::try_from(*status).ok()).collect(),
        headers: expect.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
        body_contains: expect.body_contains.clone(),
        json: expect.json_pointer.iter().map(|wanted| (wanted.path.clone(), wanted.value.clone())).collect(),
        undecided: None,
        success_only: false,
        max_latency: expect.max_latency_millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(1))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn of(probe: serde_json::Value) -> Check {
        check(&serde_json::from_value(probe).unwrap())
    }

    #[test]
    fn every_field_of_a_probe_reaches_its_attempts() {
        let expect = json!({"status": [200], "bodyContains": "shop", "maxLatencyMillis": 250,
            "headers": [{"name": "x-version", "value": "v1"}, {"name": "etag"}], "jsonPointer": [{"path": "/up", "value": "true"}]});
        let headers = json!([{"name": "HOST", "value": "shop.example"}, {"name": "X-A", "value": "1"}]);
        let wanted = HttpCheck {
            method: probe::Method::Get,
            scheme: probe::Scheme::Https,
            host: "shop.example".into(),
            path: "/p".into(),
            headers: vec![("X-A".into(), "1".into())],
            expect: probe::Expect {
                status: vec![200],
                headers: vec![("x-version".into(), Some("v1".into())), ("etag".into(), None)],
                body_contains: Some("shop".into()),
                json: vec![("/up".into(), "true".into())],
                undecided: None,
                success_only: false,
                max_latency: Some(Duration::from_millis(250)),
            },
        };
        let get = json!({"path": "/p", "port": 1, "scheme": "HTTPS", "httpHeaders": headers, "expect": expect});
        assert_eq!(of(json!({"name": "a", "httpGet": get})), Check::Http(wanted.clone()));
        let mut post = get.clone();
        post["body"] = json!("{}");
        let posted = HttpCheck { method: probe::Method::Post("{}".into()), ..wanted };
        assert_eq!(of(json!({"name": "a", "httpPost": post})), Check::Http(posted));
    }

    #[test]
    fn every_field_of_a_query_reaches_it() {
        let of = |probe: serde_json::Value| query(&serde_json::from_value(probe).unwrap());
        let asked = json!({"url": "http://p:9090/base", "query": "up", "atMost": "0.5", "atLeast": "-1", "noData": "Fail"});
        let endpoint = Endpoint { scheme: probe::Scheme::Http, host: "p".into(), port: 9090, base: "/base".into(), path: "/base".into() };
        let wanted = Query { endpoint, text: "up".into(), at_most: Some(0.5), at_least: Some(-1.0), no_data: Empty::Fail };
        assert_eq!(of(json!({"name": "a", "prometheus": asked})), Some(wanted));
        let plain = of(json!({"name": "a", "prometheus": {"url": "http://p", "query": "up", "atMost": "1"}})).unwrap();
        assert_eq!((plain.at_least, plain.no_data), (None, Empty::Wait));
        assert_eq!(of(json!({"name": "a", "tcpSocket": {"port": 1}})), None);
    }

    #[test]
    fn defaults_ask_for_little() {
        let plain = HttpCheck { path: "/".into(), ..HttpCheck::default() };
        assert_eq!(of(json!({"name": "a", "httpGet": {"port": 1}})), Check::Http(plain.clone()));
        let posted = HttpCheck { method: probe::Method::Post(String::new()), ..plain };
        assert_eq!(of(json!({"name": "a", "httpPost": {"port": 1}})), Check::Http(posted));
        assert_eq!(of(json!({"name": "a", "tcpSocket": {"port": 1}})), Check::Tcp);
        assert_eq!(of(json!({"name": "a", "grpc": {"port": 1}})), Check::Grpc { service: None, tls: false });
        let grpc = json!({"name": "a", "grpc": {"port": 1, "service": "cart", "tls": true}});
        assert_eq!(of(grpc), Check::Grpc { service: Some("cart".into()), tls: true });
    }
}
