//! Everybody is asked here who they are, whatever they call.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo,
    SchemaResult, Ticket,
};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::people::{Pass, People};

/// A service behind log-ins and cookies.
#[derive(Debug)]
pub(crate) struct Gate<S> {
    pub(crate) service: S,
    pub(crate) people: Arc<People>,
}

impl<S> Gate<S> {
    /// Lets a request through, which then knows its session.
    fn admit<T>(&self, request: &mut Request<T>) -> Result<Pass, Status> {
        let pass = self.people.admit(request.metadata())?;
        request.extensions_mut().insert(pass.clone());
        Ok(pass)
    }
}

/// Says in an answer's headers what is new.
fn tell<T>(mut response: Response<T>, pass: &Pass) -> Response<T> {
    let value = |text: String| MetadataValue::try_from(text).expect("letters and digits");
    if let Some(token) = &pass.token {
        response.metadata_mut().insert("authorization", value(format!("Bearer {token}")));
    }
    if let Some(cookie) = &pass.cookie {
        response.metadata_mut().insert("set-cookie", value(cookie.clone()));
    }
    response
}

#[tonic::async_trait]
impl<S: FlightService> FlightService for Gate<S> {
    type HandshakeStream = S::HandshakeStream;
    type ListFlightsStream = S::ListFlightsStream;
    type DoGetStream = S::DoGetStream;
    type DoPutStream = S::DoPutStream;
    type DoActionStream = S::DoActionStream;
    type ListActionsStream = S::ListActionsStream;
    type DoExchangeStream = S::DoExchangeStream;

    async fn handshake(
        &self,
        mut request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.handshake(request).await?, &pass))
    }

    async fn list_flights(
        &self,
        mut request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.list_flights(request).await?, &pass))
    }

    async fn get_flight_info(
        &self,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.get_flight_info(request).await?, &pass))
    }

    async fn poll_flight_info(
        &self,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.poll_flight_info(request).await?, &pass))
    }

    async fn get_schema(
        &self,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.get_schema(request).await?, &pass))
    }

    async fn do_get(&self, mut request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.do_get(request).await?, &pass))
    }

    async fn do_put(
        &self,
        mut request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.do_put(request).await?, &pass))
    }

    async fn do_exchange(
        &self,
        mut request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.do_exchange(request).await?, &pass))
    }

    async fn do_action(
        &self,
        mut request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.do_action(request).await?, &pass))
    }

    async fn list_actions(
        &self,
        mut request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let pass = self.admit(&mut request)?;
        Ok(tell(self.service.list_actions(request).await?, &pass))
    }
}
